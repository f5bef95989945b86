"""The orders of one caller of the rollout pool, in the order in which they finish."""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray

from cluster.task_names import task_name
from pipelines.rollout.activity import ActivityMonitor
from pipelines.rollout.order import Order

logger = logging.getLogger(__name__)

Graded = TypeVar("Graded")
Grade = Callable[[int, ray.ObjectRef[Any]], ray.ObjectRef[Graded]]
"""starts the grading of an order, given its number and the reference to its `TrajectoryBatch`"""

_STALL_LOG_S = 60.0


@dataclass(frozen=True, slots=True)
class FinishedOrder(Generic[Graded]):
    """One order, decoded and graded."""

    number: int
    """number of the order within its stream"""
    batch: ray.ObjectRef[Any]
    """refers to its `TrajectoryBatch` in the object store"""
    graded: Graded
    version: int
    """policy version when decoding began; no token is from an earlier version"""


@dataclass(slots=True, eq=False)
class QueuedOrder:
    """An order that the pool works on."""

    stream: OrderStream[Any]
    number: int
    order: Order
    task_name: str
    attempts: int = 0
    batch: ray.ObjectRef[Any] | None = None
    """None while it waits"""
    version: int | None = None
    """policy version when decoding began, None while it waits"""

    @property
    def sequences(self) -> int:
        return len(self.order.prompts) * self.order.samples


class Pool(Protocol):
    """What a stream needs of its pool."""

    waiting: deque[QueuedOrder]
    activity: ActivityMonitor | None

    def advance(self) -> bool:
        """Work a little on the orders of all streams; return whether anything happened."""
        ...

    def awaited(self) -> str:
        """Return as text what the pool waits for."""
        ...


class OrderStream(Generic[Graded]):
    """The orders of one caller. The pool works on them between two calls, and beside the orders of other streams."""

    def __init__(self, pool: Pool, grade: Grade[Graded]) -> None:
        self._pool = pool
        self.grade = grade
        self.closed = False
        self.finished: deque[FinishedOrder[Graded]] = deque()
        self._orders: dict[int, QueuedOrder] = {}
        """orders that are not yet returned"""
        self._numbers = itertools.count()

    def add(self, order: Order) -> int:
        """Queue an order, and return its number. Decoding may begin later, with the weights that the pool has then."""
        number = next(self._numbers)
        self._orders[number] = QueuedOrder(self, number, order, task_name("rollout"))
        self._pool.waiting.append(self._orders[number])
        return number

    def next(self) -> FinishedOrder[Graded]:
        """Wait for the next finished order and return it. The first to finish is returned first.

        Raises `RolloutError` when an order has failed on all attempts, or when no worker is left.
        """
        last_progress = time.monotonic()
        while not self.finished:
            if self._pool.advance():
                last_progress = time.monotonic()
            if self._pool.activity is not None:
                last_progress = max(last_progress, self._pool.activity.last_token)
            if time.monotonic() - last_progress > _STALL_LOG_S:
                last_progress = time.monotonic()
                what = "no order was finished" if self._pool.activity is None else "no token was written"
                logger.warning("%s for %g s; waiting for %s", what, _STALL_LOG_S, self._pool.awaited())
        found = self.finished.popleft()
        del self._orders[found.number]
        return found

    def started_by(self, number: int) -> int | None:
        """Return the policy version that began an order; None while it waits. `next` must not have returned the order yet."""
        return self._orders[number].version

    def close(self) -> None:
        """Cancel all orders that are not finished."""
        self.closed = True
        self._pool.waiting = deque(queued for queued in self._pool.waiting if queued.stream is not self)
        finished = {found.number for found in self.finished}
        for queued in self._orders.values():
            if queued.batch is not None and queued.number not in finished:
                ray.cancel(queued.batch)
