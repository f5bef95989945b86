"""A consistent view of a run directory that a driver is writing to."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cluster.files import PARTIAL, REPLACED

_ONLY_LOCAL = ("run.lock", "lock")
_LEASE = "lease"
_ATTEMPTS = 20


class UnstableError(RuntimeError):
    """The folder changed in each of several looks at it."""


@dataclass(frozen=True, slots=True)
class Found:
    """One file as a look at the folder found it."""

    inode: int
    size_bytes: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class View:
    """All files of a folder at one moment, by path, and links that hold the content of those that are to be sent."""

    files: dict[str, Found]
    links: dict[str, Path]


def view(root: Path, known: dict[str, Found], links: Path) -> View:
    """Return the files of `root` at one moment, with links in the folder `links` for those that `known` lacks.

    Two looks at the folder have to find the same files. Then all of them existed between the looks, at one moment: so a marker of
    a finished stage comes with all files of the stage, and a checkpoint as a whole. The links keep files that the driver
    removes later. Of a log, which grows, the size of the second look counts. Raises `UnstableError`.
    """
    for _ in range(_ATTEMPTS):
        shutil.rmtree(links, ignore_errors=True)
        links.mkdir(parents=True)
        first = _look(root)
        made: dict[str, Path] = {}
        for number, (path, found) in enumerate(first.items()):
            if known.get(path) != found:
                with suppress(FileNotFoundError):
                    _link(root / path, links / str(number))
                    made[path] = links / str(number)
        second = _look(root)
        if {path: found.inode for path, found in first.items()} == {
            path: found.inode for path, found in second.items()
        }:
            late = [path for path, found in second.items() if known.get(path) != found and path not in made]
            if not late:
                return View(second, made)
    raise UnstableError(f"{root}: its files change too often to be sent")


def _look(root: Path) -> dict[str, Found]:
    return {path.relative_to(root).as_posix(): found for path, found in _files(root, top=True)}


def _files(folder: Path, top: bool = False) -> Iterator[tuple[Path, Found]]:
    """Yield the regular files below a folder, without those that are being written, and without locks and leases."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.endswith((PARTIAL, REPLACED)) or entry.is_symlink() or (top and entry.name == _LEASE):
            continue
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _files(path)
            continue
        with suppress(FileNotFoundError):
            status = os.stat(path, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and entry.name not in _ONLY_LOCAL:
                yield path, Found(status.st_ino, status.st_size, status.st_mtime_ns)


def _link(file: Path, link: Path) -> None:
    try:
        os.link(file, link)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(file, link)
