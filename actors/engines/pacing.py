"""Bounds how many parts of answers a replica sends, so that many streams at once cost little more than one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

LONGEST_S = 0.25
"""from one part of a stream to the next, however many streams there are"""


class SendSignal:
    """Wakes the task that sends one stream: at once for what is urgent, else when the stream may send its next part."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._next_s = 0.0

    def tell(self, *, urgent: bool = False) -> None:
        """Say that there is something to send. The first part never waits."""
        if self._due.is_set() or (self._timer is not None and not urgent):
            return
        if urgent or self._next_s == 0.0:
            self._due.set()
            return
        loop = asyncio.get_running_loop()
        if self._next_s <= loop.time():
            self._due.set()
        else:
            self._timer = loop.call_at(self._next_s, self._due.set)

    async def wait(self) -> None:
        """Return when something should be sent. What is told from now on is part of the next."""
        await self._due.wait()
        self._due.clear()
        self.stop()
        if interval_s := self._pace.interval_s:
            self._next_s = asyncio.get_running_loop().time() + interval_s

    def stop(self) -> None:
        """Forget a timer that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@dataclass(slots=True)
class Pace:
    """Shares a number of parts per second between all streams of a replica.

    One stream has all of them, so its tokens leave one by one. The more streams there are, the more tokens leave together.
    """

    parts_per_s: float = math.inf
    _streams: int = field(default=0, init=False)

    @property
    def interval_s(self) -> float:
        """Seconds from one part of a stream to the next."""
        return min(self._streams / self.parts_per_s, LONGEST_S)

    @contextmanager
    def stream(self) -> Iterator[SendSignal]:
        """Count one more stream until the block ends, and yield its signal."""
        signal = SendSignal(self)
        self._streams += 1
        try:
            yield signal
        finally:
            self._streams -= 1
            signal.stop()
