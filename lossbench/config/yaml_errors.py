"""PyYAML's complaints in plain words."""

import re

# (what PyYAML says, what we say, what to do); the first that matches is taken. `{0}` is the first
# group of the pattern.
_WORDS: tuple[tuple[str, str, str | None], ...] = (
    (
        r"mapping values are not allowed",
        "a second ':' is not expected here",
        "is the line before complete and the indentation right? text with ': ' in it needs quotes",
    ),
    (
        r"found character '\\t' that cannot start any token",
        "a tab is not allowed here",
        "indent with spaces",
    ),
    (
        r"found character '(.+)' that cannot start any token",
        "a value cannot begin with '{0}'",
        "put quotes around it",
    ),
    (
        r"could not find expected ':'",
        "expected 'key: value', and found no ':'",
        None,
    ),
    (
        r"expected ',' or '([]}])', but got '<stream end>'",
        "the bracket that is closed with '{0}' is never closed",
        None,
    ),
    (
        r"expected ',' or '([]}])', but got '?(.*?)'?$",
        "expected ',' or '{0}' here",
        "is a bracket not closed, or a comma missing?",
    ),
    (
        r"expected <block end>, but found '(.*?)'",
        "this line does not fit the block it stands in",
        "indent all keys of a block alike",
    ),
    (
        r"found unexpected end of stream",
        "a quoted text is never closed",
        None,
    ),
    (
        r"found unexpected document separator",
        "a quoted text is not closed before the document ends",
        None,
    ),
    (
        r"found undefined alias",
        "this alias repeats nothing: no anchor '&' of that name stands before it",
        "text that begins with '*' needs quotes",
    ),
    (
        r"but found another document",
        "a config is one YAML document, and here begins a second",
        "remove the line '---'",
    ),
    (
        r"found duplicate anchor|second occurrence",
        "the same anchor stands twice",
        None,
    ),
    (
        r"sequence entries are not allowed here",
        "a list entry '-' is not expected here",
        "put the list below its key, indented",
    ),
    (
        r"expected the node content, but found '<stream end>'",
        "the text ends where a value is expected",
        "is a bracket not closed?",
    ),
    (
        r"expected the node content, but found '?(.*?)'?$",
        "a value is expected here, not '{0}'",
        None,
    ),
    (
        r"found incompatible YAML document",
        "the line '%YAML' asks for another version of YAML than 1",
        "remove the line",
    ),
    (
        r"expected '<document start>', but found",
        "this does not continue what stands before it",
        "one config is one block of 'key: value' lines, all indented alike",
    ),
    (
        r"found unknown escape character",
        "this escape is not known in a text with double quotes",
        "write '\\\\' for a backslash, or use single quotes",
    ),
    (
        r"found undefined tag handle",
        "tags ('!') are not allowed: a config holds plain values only",
        "to write a '!' as text, put quotes around it",
    ),
)


def plain_words(problem: str, context: str) -> tuple[str, str | None]:
    """Return what is wrong with a text that is no YAML, and what to do about it."""
    for pattern, message, hint in _WORDS:
        found = re.search(pattern, problem)
        if found:
            return f"no valid YAML: {message.format(*found.groups())}", hint
    return f"no valid YAML: {', '.join(part for part in (context, problem) if part)}", None
