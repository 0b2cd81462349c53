"""Commented templates of a component of one's own, and of a config that trains with it.

Each is a text with `{name}`, `{file}` and `{config}` to be filled in; braces that stay are doubled.
"""

import keyword
import re
from importlib.resources import files
from pathlib import Path

from lossbench.errors import UnknownNameError, UsageError


def kinds() -> list[str]:
    """Return the kinds that there is a template of."""
    suffix = ".py.txt"
    found = (item.name for item in files(__package__).iterdir())
    return sorted(name.removesuffix(suffix) for name in found if name.endswith(suffix))


def template(kind: str, file: Path) -> dict[Path, str]:
    """Return the files to write for a component of a kind in `file`: it, and a config beside it.

    Raises UnknownNameError for a kind without a template, UsageError for a file name that Python
    could not name a function by.
    """
    if kind not in kinds():
        raise UnknownNameError("template", kind, kinds())
    if file.suffix != ".py":
        raise UsageError(
            f"'{file}' is no Python file", hint=f"lossbench new {kind} {file.stem or 'my'}.py"
        )
    name = re.sub(r"\W", "_", file.stem).lower()
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(
            f"no function can be named after '{file.name}'",
            hint=f"begin with a letter: my_{kind}.py",
        )
    config = file.with_suffix(".yaml")
    words = {"name": name, "file": file.name, "config": config.name}
    found = {file: _read(f"{kind}.py.txt").format(**words)}
    if files(__package__).joinpath(f"{kind}.yaml.txt").is_file():
        found[config] = _read(f"{kind}.yaml.txt").format(**words)
    return found


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
