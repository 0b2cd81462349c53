"""How a config refers to a component of the user's own, and where it is found. Runs nothing."""

import importlib.machinery
import importlib.metadata
import sys
from pathlib import Path

from lossbench.errors import UsageError


def is_reference(name: str) -> bool:
    """Tell whether a name refers to the user's own: `file.py:Name` or `package.module:Name`."""
    return ":" in name


def in_file(name: str) -> bool:
    """Tell whether a reference names a file, not a module."""
    return name.rpartition(":")[0].endswith(".py")


def entry_points(kind: str) -> dict[str, str]:
    """Return the entry points of installed packages for a kind: reference by name."""
    found = importlib.metadata.entry_points(group=f"lossbench.{kind}")
    return {point.name: point.value.partition("[")[0].strip() for point in found}


def locate(reference: str, folder: Path) -> tuple[Path, str]:
    """Return the file that a reference means, absolute, and the name in it. Runs nothing.

    Raises UsageError where there is no such file or module.
    """
    target, _, name = reference.rpartition(":")
    target, name = target.strip(), name.strip()
    if not target or not name.isidentifier():
        raise UsageError(
            f"'{reference}' is no reference to a component of your own",
            hint="write 'file.py:Name' or 'package.module:Name'",
        )
    if in_file(reference):
        return Path(folder, Path(target).expanduser()).absolute(), name
    return _module_file(target, folder), name


def _module_file(module: str, folder: Path) -> Path:
    """Find a module's file without importing its packages."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise UsageError(
            f"'{module}' names no module",
            hint="a file needs its ending: 'file.py:Name'",
        )
    paths: list[str] | None = [*sys.path, str(folder)]
    spec: importlib.machinery.ModuleSpec | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = importlib.machinery.PathFinder.find_spec(name, paths) if paths else None
        if spec is None:
            raise UsageError(
                f"there is no module '{name}'",
                hint="is the package installed, or the file's ending '.py' missing?",
            )
        paths = list(spec.submodule_search_locations or ())
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise UsageError(f"the module '{module}' has no Python file")
    return Path(spec.origin).absolute()


def canonical(reference: str, file: Path) -> str:
    """Return the name that a Choice bears for a reference: without the folders of its file."""
    if not in_file(reference):
        return reference.strip()
    return f"{file.name}:{reference.rpartition(':')[2].strip()}"
