"""Folders that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def partial_folder(path: Path) -> Path:
    """Return the folder beside `path` in which to write what is to become `path`."""
    return path.with_name(f".{path.name}.partial")


def start_folder(path: Path) -> Path:
    """Make and return an empty partial folder, dropping what an interrupted writer left."""
    partial = partial_folder(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def commit_folder(path: Path) -> None:
    """Put the partial folder, flushed to disk, in the place of `path`; what was there is deleted afterwards."""
    partial, old = partial_folder(path), path.with_name(f".{path.name}.old")
    for item in [*partial.rglob("*"), partial]:
        _flush(item)
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    _flush(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
