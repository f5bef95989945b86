"""A lease: one driver at a time works on a run, also where no lock of the file system reaches all hosts.

A lease is a row of numbered objects, its terms. Whoever creates the next number has the lease: every store, and NFS, lets one of
several succeed. The holder writes a new beat into its own object every few seconds. A lease is over when it was released,
or when an observer has seen no new beat for `ttl_s` by its own clock. So two hosts' clocks are never compared.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from cluster.store.errors import StoreError

logger = logging.getLogger(__name__)

FOLDER = "lease"


class LeaseHeldError(RuntimeError):
    """Another driver has the lease. The message names it."""


class LeasePlace(Protocol):
    """Where the objects of a lease are. Every method raises `StoreError`."""

    def names(self, folder: str) -> list[str]: ...

    def read(self, name: str) -> bytes | None: ...

    def create(self, name: str, content: bytes) -> bool: ...

    def write(self, name: str, content: bytes) -> None: ...

    def remove(self, names: Iterable[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How often a lease is renewed, and when it is over."""

    ttl_s: float = 60.0
    renew_s: float = 10.0
    look_s: float = 1.0
    """how often an observer looks"""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a lease, as its object says."""

    owner: str
    who: str
    """process and host, for a person"""
    reach: str
    """what the holder's local lock reaches: whoever has that lock, and the same `reach`, knows that the holder is dead"""
    until: str
    """when the lease is over unless it is renewed, by the holder's clock, for a person"""
    ttl_s: float
    beat: int = 0
    released: bool = False

    def written(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, content: bytes) -> Holder | None:
        """Return the holder; None if the object is torn, as a file may be while it is written, or is of another kind."""
        try:
            return _HOLDER.validate_json(content, strict=True)
        except ValidationError:
            return None


_HOLDER = TypeAdapter(Holder)


class Lease:
    """A lease at one place, kept by a thread of its own from `acquire` to `release`.

    `lost` is called once, in that thread, with a sentence, if another driver has taken the lease over.
    """

    def __init__(
        self, place: LeasePlace, reach: str, lost: Callable[[str], None], times: LeaseTimes | None = None
    ) -> None:
        self._place, self._reach, self._lost = place, reach, lost
        self._times = times or LeaseTimes()
        self.term = 0
        self.before: Holder | None = None
        """who had the lease before; None if nobody had, or if that object is torn"""
        self._mine: Holder | None = None
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._keeper: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lease. Waits up to `ttl_s` if it is not known whether its holder lives. Raises `LeaseHeldError`."""
        seen: tuple[int, bytes] | None = None
        since, said = 0.0, False
        while True:
            term = self._newest()
            content = self._place.read(_name(term)) if term else b""
            if content is None:  # replaced by a newer one in this moment
                continue
            holder = Holder.read(content)
            over = term == 0 or (holder is not None and (holder.released or holder.reach == self._reach))
            if not over and seen is not None and seen != (term, content):
                raise LeaseHeldError(_described(holder))
            if not over and seen is None:
                seen, since = (term, content), time.monotonic()
            ttl_s = max(self._times.ttl_s, holder.ttl_s if holder else 0.0)
            if not over and time.monotonic() - since < ttl_s:
                if not said and time.monotonic() - since > self._times.renew_s:
                    said = True
                    logger.info("%s: waiting up to %.0f s for a sign that it lives", _described(holder), ttl_s)
                time.sleep(self._times.look_s)
                continue
            self.before = holder
            if self._take(term + 1):
                break
            seen = None  # somebody was faster: the next look is at that lease
        self._place.remove(name for name in self._place.names(FOLDER) if _number(name) < self.term)
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._keeper.start()

    def require(self) -> None:
        """Raise `LeaseHeldError` if another driver has taken the lease over."""
        if (newest := self._newest()) > self.term:
            content = self._place.read(_name(newest))
            raise LeaseHeldError(_described(Holder.read(content or b"")))

    def release(self) -> None:
        """Give the lease up, so that the next driver need not wait. Does nothing if this object has none."""
        self._ended.set()
        with self._writing:
            mine, self._mine = self._mine, None
            if mine is None:
                return
            try:
                self._place.write(_name(self.term), replace(mine, released=True).written())
            except StoreError as error:
                logger.warning("the lease could not be given up, so the next driver has to wait for its end: %s", error)
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join(self._times.look_s)

    def _newest(self) -> int:
        return max(map(_number, self._place.names(FOLDER)), default=0)

    def _take(self, term: int) -> bool:
        mine = Holder(
            owner=secrets.token_hex(8),
            who=f"pid {os.getpid()} on {socket.gethostname()}",
            reach=self._reach,
            until=self._until(),
            ttl_s=self._times.ttl_s,
        )
        if not self._place.create(_name(term), mine.written()) and self._place.read(_name(term)) != mine.written():
            return False  # a request that was sent twice finds its own object
        if self._newest() > term:  # this process slept meanwhile, and others have had the lease
            self._place.remove([_name(term)])
            return False
        self.term, self._mine = term, mine
        return True

    def _keep(self) -> None:
        missed = 0
        while not self._ended.wait(self._times.renew_s):
            try:
                self.require()
                with self._writing:
                    if self._mine is None:
                        return
                    self._mine = replace(self._mine, beat=self._mine.beat + 1, until=self._until())
                    self._place.write(_name(self.term), self._mine.written())
                missed = 0
            except LeaseHeldError as error:
                with self._writing:
                    if self._mine is None:  # given up while this thread waited for the store
                        return
                    self._mine = None
                self._lost(str(error))
                return
            except StoreError as error:
                missed += 1
                if missed == 1:
                    logger.warning("the lease could not be renewed, and is tried again: %s", error)

    def _until(self) -> str:
        return (datetime.now(UTC) + timedelta(seconds=self._times.ttl_s)).isoformat(timespec="seconds")


def _name(term: int) -> str:
    return f"{FOLDER}/{term:08d}.json"


def _number(name: str) -> int:
    digits = name.rpartition("/")[2].removesuffix(".json")
    return int(digits) if digits.isdecimal() else 0


def _described(holder: Holder | None) -> str:
    if holder is None:
        return "in use by another driver (unknown)"
    return f"in use by another driver ({holder.who}), whose lease runs until {holder.until} unless it renews it"
