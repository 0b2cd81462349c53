"""Where a run was made: versions, the platform, the commit of the working folder."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from lossbench._version import __version__

_LIBRARIES = ("torch", "numpy", "scikit-learn", "safetensors")
_GIT_SECONDS = 2.0  # on a slow network drive the run matters more than its commit


def versions() -> dict[str, str]:
    """Return the versions on which results may depend, without importing anything heavy."""
    found = {"lossbench": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return the kind of machine; never its name, which is nobody's business."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
    }


def commit(folder: Path) -> dict[str, Any] | None:
    """Return the git commit of a folder, and whether tracked files differ from it.

    None without git, outside a repository, before the first commit, or where git takes too long.
    """
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        answer = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.decode(errors="replace").splitlines()
    commits = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
    if not commits or commits[0] == "(initial)":
        return None
    return {"commit": commits[0], "dirty": any(not line.startswith("#") for line in lines)}
