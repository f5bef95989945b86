"""An engine with continuous batching, as a simulated queue: all sequences in it get their next token in the same step."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

import simpy

from pipelines.planner.rates import EngineRates


class Engine:
    """Serves turns. Its clock counts engine steps, so a turn of k tokens ends k steps after it begins."""

    def __init__(self, environment: simpy.Environment, rates: EngineRates, max_sequences: int) -> None:
        self._environment, self._rates, self._most = environment, rates, max_sequences
        self._steps = 0.0
        self._reading_s = 0.0
        """work on tokens that are read, which holds up the steps"""
        self._at = environment.now
        self._turns: list[tuple[float, int, simpy.Event]] = []
        self._waiting: deque[tuple[int, int, simpy.Event]] = deque()
        self._order = count()
        self._wake: simpy.Event = environment.event()
        self.busy_s = 0.0
        environment.process(self._serve())

    @property
    def load(self) -> int:
        """Turns that are in it or wait for it."""
        return len(self._turns) + len(self._waiting)

    def turn(self, read: int, written: int) -> simpy.Event:
        """Return an event that fires when `written` tokens are there, after `read` tokens were read."""
        done = self._environment.event()
        self._advance()
        if len(self._turns) < self._most:
            self._admit(read, written, done)
        else:
            self._waiting.append((read, written, done))
        self._changed()
        return done

    def _admit(self, read: int, written: int, done: simpy.Event) -> None:
        self._reading_s += read * self._rates.prefill_s
        heapq.heappush(self._turns, (self._steps + max(written, 1), next(self._order), done))

    def _advance(self) -> None:
        """Bring the engine's clock up to now."""
        passed = self._environment.now - self._at
        self._at = self._environment.now
        if not self._turns:
            return
        self.busy_s += passed
        reading = min(passed, self._reading_s)
        self._reading_s -= reading
        self._steps += (passed - reading) / self._rates.step(len(self._turns))

    def _changed(self) -> None:
        wake, self._wake = self._wake, self._environment.event()
        wake.succeed()

    def _serve(self):  # type: ignore[no-untyped-def]  # a SimPy process
        while True:
            if not self._turns:
                yield self._wake
                continue
            left = self._turns[0][0] - self._steps
            timeout = self._environment.timeout(self._reading_s + max(left, 0.0) * self._rates.step(len(self._turns)))
            yield timeout | self._wake
            self._advance()
            while self._turns and self._turns[0][0] <= self._steps + 1e-9:
                heapq.heappop(self._turns)[2].succeed()
                if self._waiting:
                    self._admit(*self._waiting.popleft())


def least_busy(engines: list[Engine], load: Callable[[Engine], int] = lambda engine: engine.load) -> Engine:
    """Return the engine with the fewest turns."""
    return min(engines, key=load)
