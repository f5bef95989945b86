"""Opens a run where its experiment keeps it: in a folder, or at a URL by a working copy that is pulled first and pushed as it changes."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.files import write_atomically
from cluster.store.errors import NotStoredError, StoreError
from cluster.store.lease import Lease, LeaseHeldError, LeaseTimes
from cluster.store.objects import Objects
from cluster.store.pulling import pull
from cluster.store.pushing import EVERY_S, Mirror, Pusher
from cluster.store.urls import WORK_DIR, copies_have_a_place
from pipelines.experiment.schema import Experiment
from pipelines.records.claim import end_this_run
from pipelines.records.run_directory import RunDirectory, RunDirectoryError

logger = logging.getLogger(__name__)

_NOTE, _LINKS = "copy.json", "pushing"
_PATIENCE_S, _PATIENCE_WHEN_STOPPED_S = 600.0, 45.0
"""how long the end of a run tries to send what is left: Ray gives a stopped job 120 seconds"""


@contextmanager
def open_run(experiment: Experiment) -> Iterator[RunDirectory]:
    """Yield the run's directory, which this process has to itself. At the end of the block, a run at a URL is there as a whole.

    Raises `RunDirectoryError` if another driver has the run, `StoreError` if the URL cannot be used, and `NotStoredError` at the
    end if something could not be sent.
    """
    if experiment.url is None:
        with RunDirectory(experiment.directory.resolve()) as directory:
            yield directory
        return
    with stored_run(experiment.url, experiment.directory) as directory:
        yield directory


@contextmanager
def stored_run(
    url: str,
    copy: Path,
    times: LeaseTimes | None = None,
    every_s: float = EVERY_S,
    patience_s: float = _PATIENCE_S,
    patience_when_stopped_s: float = _PATIENCE_WHEN_STOPPED_S,
) -> Iterator[RunDirectory]:
    """Yield the working copy in the folder `copy` of the run at `url`. Raises as `open_run` does."""
    try:
        objects = Objects(url)
    except StoreError as error:
        raise StoreError(f"run_dir = {error}") from error
    with RunDirectory(copy) as directory:
        lease = Lease(objects, _reach(copy), end_this_run, times)
        try:
            lease.acquire()
            mirror = Mirror(_brought(objects, lease, copy), every_s)
        except LeaseHeldError as error:
            raise RunDirectoryError(f"run_dir = {url}: {error}") from error
        except StoreError as error:
            lease.release()
            raise StoreError(f"run_dir = {error}") from error
        except BaseException:
            lease.release()
            raise
        directory.saved = mirror.request
        failed = True
        try:
            yield directory
            failed = False
        finally:
            try:
                missing = mirror.finish(patience_when_stopped_s if failed else patience_s)
            finally:
                lease.release()
            where = f"run_dir = {url}: {missing}. The rest is in {copy}; the same command on this machine sends it"
            if missing is None:
                logger.info("all of the run is at %s", url)
            elif failed:
                logger.error("%s", where)
            else:
                raise NotStoredError(where)


def require_shared_copy(experiment: Experiment) -> None:
    """Raise `StoreError` if the actors of a run at a URL may not see its working copy. Call it once Ray is up."""
    import ray

    if experiment.url is None or copies_have_a_place():
        return
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    if nodes > 1:
        raise StoreError(
            f"run_dir = {experiment.url}: the cluster has {nodes} nodes, whose actors all write to the working copy: set {WORK_DIR} to a "
            "folder on a disk that they share"
        )


def _brought(objects: Objects, lease: Lease, copy: Path) -> Pusher:
    """Bring the copy up to date, and return what pushes it.

    If the driver before was in this very copy, the copy has all that is at the URL and maybe more, so it stays as it is.
    """
    note = copy.parent / _NOTE
    own = lease.before is not None and lease.before.reach == _reach(copy)
    if not (own and json.loads(note.read_bytes())["whole"]):
        reach = _reach(copy)
        _write_note(note, reach, whole=False)
        logger.info("bringing %s to %s", objects.url, copy)
        if pull(objects, copy) is None and RunDirectory(copy).experiment.exists():
            raise StoreError(
                f"{objects.url}: there is no run any more, and this machine's copy has one: remove {copy} to begin anew, or go on with "
                "run_dir=<that folder>"
            )
        _write_note(note, reach, whole=True)
    links = copy.parent / _LINKS
    shutil.rmtree(links, ignore_errors=True)
    return Pusher(objects, copy, links, lease)


def _reach(copy: Path) -> str:
    """Return the name of this very copy, which is drawn when the copy is made. Its lock reaches all who work in it."""
    note = copy.parent / _NOTE
    try:
        return str(json.loads(note.read_bytes())["reach"])
    except (FileNotFoundError, ValueError, KeyError):
        reach = secrets.token_hex(16)
        _write_note(note, reach, whole=False)
        return reach


def _write_note(note: Path, reach: str, whole: bool) -> None:
    write_atomically(note, json.dumps({"reach": reach, "whole": whole}).encode())
