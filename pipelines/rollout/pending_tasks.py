"""Returns Ray tasks as they finish. The cost of one return does not grow with the number of pending tasks."""

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
    """A task has missed its deadline."""


class Reference(Protocol):
    """A task in progress, such as a Ray object reference."""

    def future(self) -> Future[Any]:
        """Return a future of the task's result."""
        ...


@dataclass(slots=True, eq=False)
class PendingTask(Generic[Key]):
    """A task that is in progress or finished."""

    key: Key
    """how the caller identifies it"""
    result: Future[Any]
    started: float
    deadline_s: float

    def outcome(self) -> Any:
        """Return the result of a finished task. Raises the task's error, or `LateError` if it is not finished."""
        if not self.result.done():
            raise LateError(f"no answer within {self.deadline_s:g} s")
        return self.result.result()


@dataclass(slots=True)
class PendingTasks(Generic[Key]):
    """Tasks with the same deadline. Each is returned once, when it is finished or late.

    Ray reports each task when it finishes, so that nobody has to poll all of them.
    """

    deadline_s: float
    _tasks: dict[int, PendingTask[Key]] = field(default_factory=dict)
    """by number, the oldest first"""
    _finished: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, key: Key, reference: Reference) -> None:
        """Watch a task. Its deadline counts from now."""
        number = next(self._numbers)
        result = reference.future()
        self._tasks[number] = PendingTask(key, result, time.monotonic(), self.deadline_s)
        result.add_done_callback(lambda _: self._finished.put(number))

    def next(self, timeout_s: float) -> list[PendingTask[Key]]:
        """Wait until a task is finished or late, and return all such tasks; an empty list after `timeout_s` without one."""
        found: deque[PendingTask[Key]] = deque()
        wait_s = max(min(timeout_s, self._first_deadline() - time.monotonic()), 0.0)
        try:
            number = self._finished.get(timeout=wait_s) if wait_s else self._finished.get_nowait()
            while True:
                if (task := self._tasks.pop(number, None)) is not None:  # else it was already returned as late
                    found.append(task)
                number = self._finished.get_nowait()
        except queue.Empty:
            pass
        now = time.monotonic()
        while self._tasks and self._first_deadline() <= now:
            found.append(self._tasks.pop(next(iter(self._tasks))))
        return list(found)

    def _first_deadline(self) -> float:
        first = next(iter(self._tasks.values()), None)
        return time.monotonic() + self.deadline_s if first is None else first.started + self.deadline_s
