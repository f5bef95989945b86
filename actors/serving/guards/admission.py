"""Decides how many requests are answered at the same time, who waits, who is refused, and when the server is empty."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from actors.serving.errors import ApiError
from actors.serving.guards.settings import GuardSettings

_FIRST_GUESS_S = 2.0
"""of an answer's duration, until one has ended"""
_WEIGHT = 0.2
"""of the newest duration in the mean"""
_DRAIN_RETRY_S = 10.0
"""until another server, or this one, is back"""


@dataclass(eq=False, slots=True)
class _Waiting:
    key: str
    admitted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Place:
    """One admitted request. Release it when the answer has ended."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave: Callable[[], None] | None = leave

    def release(self) -> None:
        """Give the place to the next request. Only the first call counts."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


class Admission:
    """Counts the requests of one process. All its methods are called on one event loop.

    Requests are admitted in the order of their arrival. A key that has as many running as it may have lets others pass.
    """

    def __init__(self, settings: GuardSettings, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._now = now
        self._running: Counter[str] = Counter()
        self._waiting: list[_Waiting] = []
        self._arriving: Counter[str] = Counter()
        self._mean_s = _FIRST_GUESS_S
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def running(self) -> int:
        """Requests that are being answered."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def draining(self) -> bool:
        """Whether new requests are refused."""
        return self._draining

    def check_open(self) -> None:
        """Raise `ApiError` (503) if the server is draining."""
        if self._draining:
            raise self._closed()

    @asynccontextmanager
    async def arriving(self, key: str) -> AsyncIterator[None]:
        """Count a request whose body is on its way. Raises `ApiError` if there is no place in the queue for it.

        One key may not take all places, if it may not run all requests.
        """
        self.check_open()
        settings = self._settings
        of_key = self._arriving[key] + sum(waiting.key == key for waiting in self._waiting)
        most_of_key = (settings.max_concurrent_per_key or settings.max_concurrent) + settings.queue.max_waiting
        of_all = self._arriving.total() + len(self._waiting)
        if of_key >= most_of_key:
            raise self._too_many(key, f"and {of_key} of this API key wait or are on their way, which is the most")
        if of_all >= settings.max_concurrent + settings.queue.max_waiting:
            raise self._too_many(key, f"and {of_all} wait or are on their way, which is the most")
        self._arriving[key] += 1
        try:
            yield
        finally:
            self._arriving[key] -= 1
            if not self._arriving[key]:
                del self._arriving[key]

    async def admit(self, key: str) -> Place:
        """Wait for a place, and return it.

        Raises `ApiError`: 429 if the queue is full or the wait takes too long, 503 if the server is draining.
        """
        self.check_open()
        if self._is_behind_others(key) or not self._has_place(key):
            await self._wait(key)
        else:
            self._enter(key)
        began = self._now()

        def leave() -> None:
            self._mean_s += _WEIGHT * (self._now() - began - self._mean_s)
            self._leave(key)

        return Place(leave)

    def retry_after_s(self, key: str) -> float:
        """Return after how many seconds a place is likely to be free, by how long recent requests took."""
        ahead, places = len(self._waiting), self._settings.max_concurrent
        limit = self._settings.max_concurrent_per_key
        if limit is not None and self._running[key] >= limit:
            ahead, places = sum(waiting.key == key for waiting in self._waiting), limit
        return self._mean_s * (ahead + 1) / places

    def drain(self) -> None:
        """Refuse new requests and those that wait. Those that are being answered go on."""
        self._draining = True
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            if not request.admitted.done():
                request.admitted.set_exception(self._closed())

    async def drained(self, timeout_s: float | None = None) -> bool:
        """Wait until no request is being answered. Return whether that is so within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def _wait(self, key: str) -> None:
        """Wait in the queue until this request is entered."""
        if len(self._waiting) >= self._settings.queue.max_waiting:
            raise self._too_many(key, "and as many wait as may wait")
        request = _Waiting(key)
        self._waiting.append(request)
        try:
            async with asyncio.timeout(self._settings.queue.max_wait_s):
                await request.admitted
        except TimeoutError:
            self._forget(request)
            raise self._too_many(key, f"and none ended within {self._settings.queue.max_wait_s:g} s") from None
        except asyncio.CancelledError:
            self._forget(request)
            raise

    def _is_behind_others(self, key: str) -> bool:
        """Return whether someone waits who should be admitted before a new request of this key."""
        return any(waiting.key == key or self._has_place(waiting.key) for waiting in self._waiting)

    def _has_place(self, key: str) -> bool:
        limit = self._settings.max_concurrent_per_key
        return self.running < self._settings.max_concurrent and (limit is None or self._running[key] < limit)

    def _enter(self, key: str) -> None:
        self._running[key] += 1
        self._empty.clear()

    def _leave(self, key: str) -> None:
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        if not self._running:
            self._empty.set()
        self._admit_next()

    def _admit_next(self) -> None:
        for request in list(self._waiting):
            if request.admitted.done():
                self._waiting.remove(request)
            elif self._has_place(request.key):
                self._waiting.remove(request)
                self._enter(request.key)
                request.admitted.set_result(None)

    def _forget(self, request: _Waiting) -> None:
        """Take a request out of the queue; give its place back if it was admitted in the same moment."""
        if request in self._waiting:
            self._waiting.remove(request)
        elif request.admitted.done() and not request.admitted.cancelled() and not request.admitted.exception():
            self._leave(request.key)

    @staticmethod
    def _closed() -> ApiError:
        return ApiError(
            503,
            "the server is shutting down, and takes no new requests",
            code="draining",
            retry_after_s=_DRAIN_RETRY_S,
        )

    def _too_many(self, key: str, reason: str) -> ApiError:
        limit = self._settings.max_concurrent_per_key
        if limit is not None and self._running[key] >= limit:
            busy = f"{limit} requests of this API key are being answered, which is the most for one key"
        else:
            busy = f"{self.running} of at most {self._settings.max_concurrent} requests are being answered"
        return ApiError(
            429,
            f"{busy}, {reason}: try again later",
            code="too_many_requests",
            retry_after_s=self.retry_after_s(key),
        )
