"""A config file and the files that it extends, as one."""

from pathlib import Path

from lossbench.config.annotations import show
from lossbench.config.merge import merge
from lossbench.config.yaml import Node, parse, read_text
from lossbench.errors import ConfigError, Place, Problem, suggest

EXTENDS = "extends"
MAX_FILES = 50


def read_file(file: Path) -> tuple[str, Node]:
    """Return a config file's own text, and the config with all that it extends below it.

    Raises ConfigError for what cannot be read, is no config, or extends itself.
    """
    text = _text(file, Place(file))
    root = _config(parse(text, file=file))
    return text, _Extending([file]).whole(root)


def read_given_text(text: str, folder: Path) -> Node:
    """Return a config that is given as text, with all that it extends below it."""
    return with_extended(_config(parse(text, folder=folder)))


def with_extended(root: Node) -> Node:
    """Return a config that was given in a program with all that it extends below it."""
    return _Extending([]).whole(root)


def _text(file: Path, place: Place) -> str:
    try:
        return read_text(file)
    except ConfigError as error:
        if file.exists():
            raise
        near = [path.name for path in file.parent.glob("*.y*ml")]
        hint = suggest(file.name, near) if near else None
        message = error.problems[0].message
        if place.file != file:
            message = f"{file}: {message}"
        raise ConfigError([Problem(place, message, hint)]) from None


def _config(root: Node) -> Node:
    """Refuse a document that is no block of keys; an empty one is an empty block."""
    if root.value is None:
        return root.with_value({})
    if root.mapping is None:
        what = "a list" if root.items is not None else show(root.value)
        message = f"a config is a block of 'key: value' lines, got {what}"
        raise ConfigError([Problem(root.place, message)])
    return root


class _Extending:
    """Reads the files below a config; `above` are those that are being read."""

    def __init__(self, above: list[Path]) -> None:
        self.above = [file.absolute() for file in above]
        self.read = 0

    def whole(self, root: Node) -> Node:
        """Return the config laid over what it extends, later files over earlier ones."""
        entries = dict(root.mapping or {})
        extends = entries.pop(EXTENDS, None)
        own = root.with_value(entries)
        if extends is None or extends.value is None:
            return own
        below: Node | None = None
        for reference in extends.items if extends.items is not None else (extends,):
            base = self.base(reference)
            below = base if below is None else merge(below, base)
        return own if below is None else merge(below, own)

    def base(self, reference: Node) -> Node:
        """Read the file that a config extends, and what that one extends."""
        if not isinstance(reference.value, str):
            raise _refused(
                reference,
                f"extends must name a file or a list of files, got {show(reference.plain())}",
            )
        file = Path(reference.folder, reference.value)
        if file.absolute().resolve() in {above.resolve() for above in self.above}:
            chain = " -> ".join(path.name for path in (*self.above, file))
            raise _refused(reference, f"the files extend each other in a circle: {chain}")
        self.read += 1
        if self.read > MAX_FILES:
            raise _refused(reference, f"extends more than {MAX_FILES} files")
        root = _config(parse(_text(file, reference.place), file=file))
        self.above.append(file.absolute())
        try:
            return self.whole(root)
        finally:
            self.above.pop()


def _refused(node: Node, message: str) -> ConfigError:
    return ConfigError([Problem(node.place, message)])
