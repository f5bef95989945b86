"""Files and folders that appear whole or not at all, and outlive a power loss, whatever ends their writer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"
REPLACED = ".replaced"


class FolderError(RuntimeError):
    """A folder cannot be made; the message says why."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at `path`: a reader, and a kill or power loss at any time, sees the old content or the new."""
    make_directory(path.parent)
    partial = partial_path(path)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def make_directory(path: Path) -> None:
    """Make a directory and its parents so that they outlive a power loss. Raises `FolderError`."""
    if path.is_dir():
        return
    if path.parent != path:
        make_directory(path.parent)
    try:
        path.mkdir(exist_ok=True)
        sync(path.parent)
    except OSError as error:
        raise FolderError(
            f"{path}: the folder cannot be made: {error.strerror}; give another run_dir or share_dir"
        ) from error


def partial_path(path: Path) -> Path:
    """Return where to write what is to become `path`."""
    return path.with_name(f".{path.name}{PARTIAL}")


def start_folder(path: Path) -> Path:
    """Make and return the empty folder that is to become `path`, dropping what an interrupted writer left there."""
    partial = partial_path(path)
    shutil.rmtree(partial, ignore_errors=True)
    make_directory(path.parent)
    partial.mkdir()
    return partial


def commit_folder(path: Path) -> None:
    """Put what `start_folder` began, flushed to disk, in the place of `path`; what was there is removed."""
    partial, replaced = partial_path(path), path.with_name(f".{path.name}{REPLACED}")
    for item in [*partial.rglob("*"), partial]:
        sync(item)
    if path.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        path.rename(replaced)
    partial.rename(path)
    sync(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def directory_commit(final: Path) -> Iterator[Path]:
    """Yield an empty directory that becomes `final` as a whole when the block succeeds, and vanishes when it fails.

    An earlier `final` is replaced. What killed runs left beside it is removed on entry, so there may be one commit at a
    time in one parent directory.
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
    """Remove all but the last `keep` of `paths`, which go from old to new; returns those removed.

    Raises ValueError if `keep` is negative. Each gets a hidden name first: a kill leaves none half there.
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
    """Remove what interrupted commits left, and bring back a directory that one had moved aside."""
    for replaced in parent.glob(f".*{REPLACED}"):
        final = parent / replaced.name.removeprefix(".").removesuffix(REPLACED)
        if final.exists():
            _remove(replaced)
        else:
            replaced.rename(final)
    for partial in parent.glob(f".*{PARTIAL}"):
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file, or what a folder says of its files, outlive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
