"""Files that are fetched once, checked by their sums, and kept in a cache directory."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

from lossbench.errors import DataError, MissingError

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT = 30.0
"""Seconds without an answer, after which a server counts as out of reach."""

BLOCK = 1 << 20


@dataclass(frozen=True)
class Published:
    """Files as their authors published them: where, and with which MD5 sums."""

    name: str
    url: str
    sums: Mapping[str, str]


def cache_folder(name: str) -> Path:
    """Return where downloads of that name are kept: below XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path there is to be ignored.
    root = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return root / "lossbench" / name


def obtain(published: Published, folder: Path, download: bool) -> list[Path]:
    """Return the files' places in the folder, in order, fetching those that are not there.

    A file may lie there unpacked, too (without `.gz`); sums are known of the packed ones.
    Raises MissingError (exit 4) where a file is not there and cannot be fetched, and DataError
    where one that is there has been damaged.
    """
    found = {name: _present(folder, name) for name in published.sums}
    missing = [name for name, place in found.items() if place is None]
    for name in missing:
        if not download:
            raise _missing(published, folder, missing, "download is off")
        try:
            found[name] = _fetch(published, folder, name)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise _missing(published, folder, missing, str(reason)) from error
    for name, place in found.items():
        kept = place is not None and place.name == name and name not in missing
        if place is not None and kept and _sum(place) != published.sums[name]:
            raise DataError(
                f"{place}: damaged: its MD5 sum is not {published.sums[name]}, as was published",
                hint="delete it, and it is fetched again; files of your own are read unpacked",
            )
    return [place for place in found.values() if place is not None]


def _present(folder: Path, name: str) -> Path | None:
    """Return where a file lies, packed or unpacked."""
    places = (folder / name, folder / name.removesuffix(".gz"))
    return next((place for place in places if place.is_file()), None)


def _sum(file: Path) -> str:
    """Return a file's MD5 sum: it tells damage, and is not there to tell malice."""
    total = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            total.update(block)
    return total.hexdigest()


def _fetch(published: Published, folder: Path, name: str) -> Path:
    """Download a file under a temporary name, verify it, and only then give it its own."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    part = Path(temporary)
    try:
        with os.fdopen(handle, "wb") as file, urlopen(published.url + name, timeout=TIMEOUT) as web:
            while block := web.read(BLOCK):
                file.write(block)
        if _sum(part) != published.sums[name]:
            raise OSError(f"{published.url}{name} gives another file than was published")
        return part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)


def _missing(published: Published, folder: Path, names: list[str], reason: str) -> MissingError:
    """Say which files are needed, where, and where to get them."""
    return MissingError(
        f"{published.name}: missing in {folder}: {', '.join(names)} ({reason})",
        hint=f"fetch each from {published.url} on a machine with a network and put it into "
        f"{folder}, or name the folder that has them: dataset.folder=DIRECTORY",
    )
