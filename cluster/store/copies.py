"""A copy of a run at a URL, for commands that only read it."""

from __future__ import annotations

import fcntl
import re
from pathlib import Path

from cluster.files import make_directory
from cluster.store.errors import StoreError
from cluster.store.objects import Objects
from cluster.store.pulling import pull
from cluster.store.urls import given_url, is_url, reading_copy

_MODELS = re.compile(r"stages/[^/]+/model/")
_CHECKPOINTS = re.compile(r"stages/[^/]+/checkpoints/")


def folder_of(place: str, models: bool = False) -> Path:
    """Return the folder of a run that a user named: the path as it is, or of a URL a copy of its newest state.

    A copy has no checkpoints, and the trained students only with `models`. What a command adds beside the stages, as the ledger
    of a server, stays there. Raises `StoreError`.
    """
    if not is_url(place):
        return Path(place)
    url = given_url(place)
    objects, folder = Objects(url), reading_copy(url)
    make_directory(folder.parent)
    with open(folder.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another command may be reading the same run

        def wanted(path: str) -> bool:
            return not _CHECKPOINTS.match(path) and (models or not _MODELS.match(path))

        if pull(objects, folder, wanted, clear="stages") is None:
            raise StoreError(f"{url}: there is no run; give the run_dir of one")
    return folder
