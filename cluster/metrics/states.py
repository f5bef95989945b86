"""What an actor is doing, and for how long it has done each thing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from cluster.metrics.publisher import Reading


class ActorState(StrEnum):
    """What an actor does. Of several things at a time, the first in this order counts."""

    STARTING = "starting"
    SYNCING = "syncing"
    """takes or sends weights, and waits for turns that must end first"""
    ASLEEP = "asleep"
    """an engine has given its GPU's memory to the learner"""
    LEARNING = "learning"
    GRADING = "grading"
    WRITING = "writing"
    """writes at least one turn"""
    IDLE = "idle"


class StateClock:
    """Counts the seconds that an actor has spent in each state. It may be used from any thread."""

    def __init__(self, role: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`role` is what the actor is in the run: "teacher", "rollout", ..."""
        self._role, self._clock = role, clock
        self._lock = threading.Lock()
        self._active = dict.fromkeys(ActorState, 0)
        self._seconds = dict.fromkeys(ActorState, 0.0)
        self._since = clock()
        self._state = ActorState.IDLE

    @property
    def state(self) -> ActorState:
        return self._state

    @contextmanager
    def within(self, state: ActorState) -> Iterator[None]:
        """The actor is in `state` during the block. Blocks may overlap."""
        self.begin(state)
        try:
            yield
        finally:
            self.end(state)

    def begin(self, state: ActorState) -> None:
        """The actor is in `state` until `end` was called as often as this."""
        self._count(state, 1)

    def end(self, state: ActorState) -> None:
        """See `begin`. Does nothing if the actor is not in `state`."""
        self._count(state, -1)

    def seconds(self) -> dict[ActorState, float]:
        """Return the time spent in each state so far."""
        with self._lock:
            self._pass_time()
            return dict(self._seconds)

    def readings(self) -> Iterator[Reading]:
        """Yield the state and the seconds of each."""
        seconds, now = self.seconds(), self._state
        for state in ActorState:
            tags = {"role": self._role, "state": state.value}
            yield Reading("relayllm_actor_state", float(state is now), tags)
            yield Reading("relayllm_state_seconds", seconds[state], tags)

    def _count(self, state: ActorState, change: int) -> None:
        with self._lock:
            before = self._active[state]
            self._active[state] = after = max(before + change, 0)
            if before and after:
                return  # other turns were, and are, under way
            now = next((state for state in ActorState if self._active[state]), ActorState.IDLE)
            if now is not self._state:
                self._pass_time()
                self._state = now

    def _pass_time(self) -> None:
        now = self._clock()
        self._seconds[self._state] += now - self._since
        self._since = now
