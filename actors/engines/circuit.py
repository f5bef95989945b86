"""A circuit breaker: after failures in a row, calls fail at once for a while, and then one call tries again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from actors.engines.base import EngineError


class OutageError(EngineError):
    """A server could not be reached, or failed on every attempt. The request itself was not refused."""


class Circuit:
    """Counts the calls in a row that ended with `OutageError`. Any answer of the server, also a refusal, ends the count."""

    def __init__(
        self, name: str, failures_to_open: int, open_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._failures_to_open, self._open_s, self._clock = failures_to_open, open_s, clock
        self._failures = 0
        self._last = ""
        self._opened_at = 0.0
        self._probing = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Run one call. Raises `OutageError` at once while the circuit is open."""
        probes = self._enter()
        try:
            yield
        except OutageError as error:
            self._failures += 1
            self._last, self._opened_at = str(error), self._clock()
            raise
        except EngineError:
            self._failures = 0
            raise
        else:
            self._failures = 0
        finally:
            if probes:
                self._probing = False

    def _enter(self) -> bool:
        """Return whether this call is the one that tries again."""
        if self._failures < self._failures_to_open:
            return False
        left = self._opened_at + self._open_s - self._clock()
        if left > 0 or self._probing:
            when = f"the next try is in {left:.1f} s" if left > 0 else "one call is trying again"
            raise OutageError(f"{self._name} failed {self._failures} times in a row, {when}. Last: {self._last}")
        self._probing = True
        return True
