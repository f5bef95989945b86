"""Notices that an actor is alive and does not answer: its process stands still, or waits for something for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ray


class Heartbeat:
    """Asks one actor again and again whether it answers. It never waits."""

    def __init__(
        self, ask: Callable[[], ray.ObjectRef[Any]], limit_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`ask` calls a method of the actor that returns at once while the actor is well."""
        self._ask, self.limit_s, self._clock = ask, limit_s, clock
        self._asked: ray.ObjectRef[Any] | None = None
        self._asked_at = 0.0
        self._restarts: object = None

    def has_stopped(self, state: Mapping[str, Any]) -> bool:
        """Return whether an answer has been missing for longer than the limit.

        `state` is what Ray says of the actor. While Ray starts it there is no limit.
        """
        import ray

        restarts = state.get("NumRestarts")
        if state.get("State") != "ALIVE" or restarts != self._restarts:
            self._asked, self._restarts = None, restarts
        if state.get("State") != "ALIVE":
            return False
        if self._asked is not None and not ray.wait([self._asked], timeout=0)[0]:
            return self._clock() - self._asked_at > self.limit_s
        self._asked, self._asked_at = self._ask(), self._clock()
        return False
