"""The modules beside a user's file that it imports: they are part of what the file does."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lossbench.errors import UsageError
from lossbench.plugins.references import in_file
from lossbench.plugins.syntax import read_tree

if TYPE_CHECKING:
    from lossbench.config.spec import RunSpec


def travelling(spec: "RunSpec") -> tuple[Path, ...]:
    """Return the files that a run must take along to be repeated: the user's, and their neighbours.

    What comes from an installed package is taken along as it was, and imported from there.
    """
    files = list(spec.own_files())
    for choice in spec.components():
        if choice.file is not None and in_file(choice.name):
            files += neighbours(choice.file)
    return tuple(dict.fromkeys(files))


def neighbours(file: Path) -> tuple[Path, ...]:
    """Return the modules in a file's own folder that it imports, and those that they import.

    The files are read, not run; packages in the folder are no modules of one file, and left out.
    """
    found: dict[Path, None] = {}
    waiting = [file]
    while waiting:
        for name in _imported(waiting.pop()):
            beside = file.parent / f"{name}.py"
            if beside != file and beside not in found and beside.is_file():
                found[beside] = None
                waiting.append(beside)
    return tuple(found)


def _imported(file: Path) -> Iterator[str]:
    """Yield the top-level names that a file imports; none where it cannot be read."""
    try:
        tree = read_tree(file)
    except UsageError:
        return  # whoever imports it says what is wrong
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
