"""Returns calls as they finish. The cost of one return does not grow with the number of calls in progress."""

from __future__ import annotations

import itertools
import queue
import time
from collections import deque
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)


class LateError(TimeoutError):
    """A call has missed its deadline."""


class Reference(Protocol):
    """A call in progress, such as a Ray object reference."""

    def future(self) -> Future[Any]:
        """Return a future of the call's result."""
        ...


@dataclass(slots=True, eq=False)
class CallInFlight(Generic[Key]):
    """A call that is in progress or finished."""

    key: Key
    """how the caller identifies it"""
    result: Future[Any]
    started: float
    deadline_s: float

    def outcome(self) -> Any:
        """Return the result of a finished call. Raises the call's error, or `LateError` if it is not finished."""
        if not self.result.done():
            raise LateError(f"no answer within {self.deadline_s:g} s")
        return self.result.result()


@dataclass(slots=True)
class CallsInFlight(Generic[Key]):
    """Calls with the same deadline. Each is returned once, when it is finished or late.

    Ray reports each call when it finishes, so that nobody has to poll all of them.
    """

    deadline_s: float
    _calls: dict[int, CallInFlight[Key]] = field(default_factory=dict)
    """by number, the oldest first"""
    _finished: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, key: Key, reference: Reference) -> None:
        """Watch a call. Its deadline counts from now."""
        number = next(self._numbers)
        result = reference.future()
        self._calls[number] = CallInFlight(key, result, time.monotonic(), self.deadline_s)
        result.add_done_callback(lambda _: self._finished.put(number))

    def next(self, timeout_s: float) -> list[CallInFlight[Key]]:
        """Wait until a call is finished or late, and return all such calls; an empty list after `timeout_s` without one."""
        found: deque[CallInFlight[Key]] = deque()
        wait_s = max(min(timeout_s, self._first_deadline() - time.monotonic()), 0.0)
        try:
            number = self._finished.get(timeout=wait_s) if wait_s else self._finished.get_nowait()
            while True:
                if (call := self._calls.pop(number, None)) is not None:  # else it was already returned as late
                    found.append(call)
                number = self._finished.get_nowait()
        except queue.Empty:
            pass
        now = time.monotonic()
        while self._calls and self._first_deadline() <= now:
            found.append(self._calls.pop(next(iter(self._calls))))
        return list(found)

    def oldest(self, count: int) -> list[CallInFlight[Key]]:
        """Return up to `count` calls, those in progress for longest."""
        return list(itertools.islice(self._calls.values(), count))

    def _first_deadline(self) -> float:
        first = next(iter(self._calls.values()), None)
        return time.monotonic() + self.deadline_s if first is None else first.started + self.deadline_s
