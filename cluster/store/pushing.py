"""Sends a run directory to its URL, while the run goes on."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cluster.store.errors import StoreError
from cluster.store.lease import Lease, LeaseHeldError
from cluster.store.manifest import FILES, Manifest, Stored, newest_manifest, remove_unnamed, write_manifest
from cluster.store.objects import Objects, sha256
from cluster.store.scan import Found, UnstableError, View, view

logger = logging.getLogger(__name__)

EVERY_S = 60.0
"""how often logs are sent"""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 120.0
_AT_A_TIME = 4


class Pusher:
    """Makes the URL's content equal to a folder's, as a whole, each time that `push` is called."""

    def __init__(self, objects: Objects, folder: Path, links: Path, lease: Lease) -> None:
        self._objects, self._folder, self._links, self._lease = objects, folder, links, lease
        self._newest = newest_manifest(objects)
        self._serial = 0
        self._known: dict[str, Found] = {}
        """what the folder's files were when the newest manifest was written"""

    def push(self) -> None:
        """Send what has changed. Raises `StoreError`, `UnstableError`, or `LeaseHeldError` if another driver has the run."""
        seen = view(self._folder, self._known, self._links)
        if self._newest is not None and self._known == seen.files and self._serial:
            return
        self._lease.require()
        present = frozenset(self._objects.names(FILES))
        with ThreadPoolExecutor(_AT_A_TIME) as threads:
            stored = list(threads.map(lambda path: self._stored(path, seen, present), seen.files))
        self._lease.require()
        manifest = Manifest(self._lease.term, self._serial + 1, dict(zip(seen.files, stored, strict=True)))
        write_manifest(self._objects, manifest)
        before, self._newest, self._known, self._serial = self._newest, manifest, seen.files, manifest.serial
        self._lease.require()
        remove_unnamed(self._objects, manifest, before, present)

    def _stored(self, path: str, seen: View, present: frozenset[str]) -> Stored:
        """Return the object of a file, which is uploaded unless it is there."""
        found = seen.files[path]
        earlier = self._newest.files.get(path) if self._newest else None
        content = seen.links.get(path)
        there = earlier is not None and earlier.object in present and earlier.size_bytes == found.size_bytes
        if earlier is not None and there and (content is None or sha256(content) == earlier.sha256):
            return earlier
        name = f"{FILES}/{path}/{secrets.token_hex(6)}"
        with (content or self._folder / path).open("rb") as file:
            digest = self._objects.upload(name, file, found.size_bytes)
        return Stored(name, found.size_bytes, digest)


@dataclass(frozen=True, slots=True)
class _Failure:
    text: str
    final: bool
    """whether trying again is of no use"""


class Mirror:
    """Pushes in a thread: soon after `request`, and every minute. A failure is logged, and tried again after a longer wait."""

    def __init__(self, pusher: Pusher, every_s: float = EVERY_S, first_wait_s: float = _FIRST_WAIT_S) -> None:
        self._pusher, self._every_s, self._first_wait_s = pusher, every_s, first_wait_s
        self._wake, self._ended = threading.Event(), threading.Event()
        self._pushing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="push", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Push soon. Returns at once."""
        self._wake.set()

    def finish(self, patience_s: float) -> str | None:
        """Push a last time, with attempts for `patience_s`. Return why not all is at the URL; None if it is."""
        until, wait_s = time.monotonic() + patience_s, self._first_wait_s
        self._ended.set()
        self._wake.set()
        while True:
            reason = self._attempt()
            left_s = until - time.monotonic()
            if reason is None or reason.final or left_s <= 0:
                return None if reason is None else reason.text
            logger.warning("%s; trying again for %.0f s", reason.text, left_s)
            time.sleep(min(wait_s, left_s))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _run(self) -> None:
        wait_s = self._first_wait_s
        while not self._ended.is_set():
            self._wake.wait(self._every_s)
            self._wake.clear()
            while not self._ended.is_set() and (reason := self._attempt()) is not None:
                if reason.final:
                    return
                logger.warning("%s; training goes on, and it is tried again in %.0f s", reason.text, wait_s)
                self._ended.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            wait_s = self._first_wait_s

    def _attempt(self) -> _Failure | None:
        with self._pushing:
            try:
                self._pusher.push()
            except LeaseHeldError as error:
                return _Failure(f"nothing more is sent: {error}", final=True)
            except (StoreError, UnstableError, OSError) as error:
                return _Failure(f"not all is at the URL: {error}", final=False)
        return None
