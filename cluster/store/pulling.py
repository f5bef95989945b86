"""Brings a run from its URL into a folder of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.files import PARTIAL, make_directory
from cluster.store.errors import StoreError
from cluster.store.manifest import Manifest, Stored, newest_manifest
from cluster.store.objects import Objects, sha256

_ATTEMPTS = 5
_AT_A_TIME = 4


def pull(
    objects: Objects, folder: Path, wanted: Callable[[str], bool] = lambda path: True, clear: str = "."
) -> Manifest | None:
    """Make the folder's files those of the newest manifest whose path is `wanted`, and return it; None if there is none.

    Files below `clear` that the manifest does not name are removed; equal ones stay. Raises `StoreError` if an object is
    not what the manifest says.
    """
    for _ in range(_ATTEMPTS):
        manifest = newest_manifest(objects)
        if manifest is None:
            return None
        files = {path: stored for path, stored in manifest.files.items() if wanted(path)}
        _remove_others(folder, folder / clear, set(files))
        with ThreadPoolExecutor(_AT_A_TIME) as threads:
            whole = list(threads.map(lambda item: _bring(objects, folder / item[0], item[1]), files.items()))
        if all(whole):
            return manifest
        # The driver has gone on, and has removed what is two manifests old.
    raise StoreError(
        f"{objects.url}: objects that its manifest names are missing; look whether somebody has removed some"
    )


def _bring(objects: Objects, path: Path, stored: Stored) -> bool:
    """Make one file. Return false if its object is gone."""
    if path.is_file() and path.stat().st_size == stored.size_bytes and sha256(path) == stored.sha256:
        return True
    make_directory(path.parent)
    partial = path.with_name(f".{path.name}{PARTIAL}")
    found = objects.download(stored.object, partial)
    if found is None:
        return False
    if found != stored.sha256:
        raise StoreError(
            f"{objects.url}/{stored.object}: its content is not what the manifest says; is the store damaged?"
        )
    os.replace(partial, path)
    return True


def _remove_others(folder: Path, within: Path, named: set[str]) -> None:
    for path in sorted(within.rglob("*"), reverse=True):
        relative = path.relative_to(folder).as_posix()
        if relative in named or relative == "run.lock" or relative.split("/")[0] == "lease":
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                shutil.rmtree(path)
        else:
            path.unlink()
