"""Checksums of a folder's files, written when the folder is whole and checked before it is read."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.files import write_atomically

FILE = "checksums.json"
_THREADS = 8
"""hashing leaves Python's lock, so several files are read at a time"""


def seal(folder: Path) -> None:
    """Write `checksums.json` with the size and SHA-256 of each file of the folder. Call it when nothing more is added."""
    files = [name for name in _files(folder) if name != FILE]
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = list(pool.map(lambda name: _digest(folder / name), files))
    rows = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": digest}
        for name, digest in zip(files, digests, strict=True)
    }
    write_atomically(folder / FILE, json.dumps(rows, indent=1).encode())


def damage(folder: Path) -> str | None:
    """Return what is wrong with a sealed folder, by the first file that is not as it was; None if nothing is."""
    try:
        rows = json.loads((folder / FILE).read_bytes())
        sizes = {name: row["bytes"] for name, row in rows.items()}
        digests_then = {name: row["sha256"] for name, row in rows.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        return f"{folder / FILE} cannot be read: {type(error).__name__}: {error}"
    if not rows:
        return f"{folder / FILE} names no file"
    for name, size in sizes.items():
        try:
            found = (folder / name).stat().st_size
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            return f"{folder / name} cannot be read: {getattr(error, 'strerror', error)}"
        if found != size:
            return f"{folder / name} has {found} bytes, and had {size} when it was written"
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            digests = list(pool.map(lambda name: _digest(folder / name), rows))
        except OSError as error:
            return f"{error.filename} cannot be read: {error.strerror}"
    for name, digest in zip(rows, digests, strict=True):
        if digest != digests_then[name]:
            return f"{folder / name} has other content than when it was written, by its SHA-256"
    return None


def _files(folder: Path) -> list[str]:
    return sorted(
        Path(root, name).relative_to(folder).as_posix() for root, _, names in os.walk(folder) for name in names
    )


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
