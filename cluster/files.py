"""Writes files and folders that appear whole or not at all, even if the writer is killed, and that survive a power loss."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

PARTIAL = ".partial"
REPLACED = ".replaced"


class FolderError(RuntimeError):
    """A folder cannot be made, or no file can be written to it. The message says why."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at `path`. At any time, even after a kill or power loss, it has either the old or the new content.

    Raises `FolderError` if its folder cannot be made, or if the file cannot be written: the disk is full or read-only.
    """
    make_directory(path.parent)
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}{PARTIAL}")  # another process may be at the same file
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):  # that of the write says more
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FolderError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise
    sync(path.parent)


def make_directory(path: Path) -> None:
    """Make a directory and its parents so that they survive a power loss. Raises `FolderError` if that fails."""
    if path.is_dir():
        return
    if path.parent != path:
        make_directory(path.parent)
    try:
        path.mkdir(exist_ok=True)
        sync(path.parent)
    except OSError as error:
        raise FolderError(
            f"{path}: the folder cannot be made: {error.strerror}; choose another folder (run_dir, share_dir, models.cache_dir)"
        ) from error


def partial_path(path: Path) -> Path:
    """Return the path to write to until the content is complete and moves to `path`."""
    return path.with_name(f".{path.name}{PARTIAL}")


def start_folder(path: Path) -> Path:
    """Make and return an empty folder, which `commit_folder` moves to `path`. Leftovers of an interrupted writer are removed."""
    partial = partial_path(path)
    make_directory(path.parent)
    _remove(partial)
    _restore(path)
    partial.mkdir()
    return partial


def commit_folder(path: Path) -> None:
    """Flush the folder of `start_folder` to disk, and move it to `path`. An earlier folder there is removed."""
    partial, replaced = partial_path(path), _replaced_path(path)
    for item in [*partial.rglob("*"), partial]:
        sync(item)
    if path.exists():
        _remove(replaced)
        path.rename(replaced)
    partial.rename(path)
    sync(path.parent)
    _remove(replaced)


@contextmanager
def directory_commit(final: Path) -> Iterator[Path]:
    """Yield an empty directory. When the block succeeds, it becomes `final` as a whole; when the block fails, it is removed.

    An earlier `final` is replaced. On entry, leftovers of killed runs beside it are removed. So only one commit at a time
    may be under way in a parent directory.
    """
    make_directory(final.parent)
    _recover(final.parent)
    try:
        yield start_folder(final)
        commit_folder(final)
    except BaseException:
        _recover(final.parent)
        raise


def prune(paths: Sequence[Path], keep: int) -> list[Path]:
    """Remove all but the last `keep` of `paths`, which are ordered from old to new; return those removed.

    Each path is renamed to a hidden name first, so that a kill leaves none of them half removed. Raises ValueError if `keep`
    is negative.
    """
    if keep < 0:
        raise ValueError(f"keep should be 0 or more, not {keep}")
    old = list(paths[: max(len(paths) - keep, 0)])
    for path in old:
        if path.exists():
            partial = partial_path(path)
            _remove(partial)
            path.rename(partial)
            _remove(partial)
    return old


def _recover(parent: Path) -> None:
    """Remove the leftovers of interrupted commits, and restore a directory that one of them had moved aside."""
    for replaced in parent.glob(f".*{REPLACED}"):
        _restore(parent / replaced.name.removeprefix(".").removesuffix(REPLACED))
    for partial in parent.glob(f".*{PARTIAL}"):
        _remove(partial)


def _replaced_path(path: Path) -> Path:
    return path.with_name(f".{path.name}{REPLACED}")


def _restore(path: Path) -> None:
    """Put back the folder that an interrupted commit had moved aside, or remove it if the new one is in its place."""
    replaced = _replaced_path(path)
    if path.exists():
        _remove(replaced)
    elif replaced.exists():
        replaced.rename(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of entries, to disk, so that it survives a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
