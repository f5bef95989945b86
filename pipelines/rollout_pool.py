"""Rollout orders to whichever worker is free, and each finished one on to the reward actor."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from actors.rollout import RolloutOrder, StaleWeightsError

if TYPE_CHECKING:
    from ray.actor import ActorHandle

logger = logging.getLogger(__name__)

Graded = TypeVar("Graded")
Grade = Callable[[int, ray.ObjectRef[Any]], ray.ObjectRef[Graded]]
"""starts the grading of the order with this number, of which the `TrajectoryBatch` is given"""

ATTEMPTS = 3
_STALL_LOG_S = 60.0
_POLL_S = 5.0
_THROUGH_RESTARTS = {"max_task_retries": -1}
"""of a call that waits for the actor to be back; others fail while it restarts"""


class RolloutError(RuntimeError):
    """An order failed on every attempt, or no worker is left; the message names the last cause."""


@dataclass(frozen=True, slots=True)
class Finished(Generic[Graded]):
    """One order, decoded and graded."""

    index: int
    """of the order among those of its stream"""
    batch: ray.ObjectRef[Any]
    """of its `TrajectoryBatch`, in the object store"""
    graded: Graded
    version: int
    """policy version when decoding began: no token is of an earlier one"""


@dataclass(slots=True)
class _Worker:
    actor: ActorHandle[Any]
    sequences: int = 0
    """in flight"""
    mending: ray.ObjectRef[Any] | None = None
    """done when the worker is back with the weights that it lacks; until then it gets no orders"""
    mending_since: float = 0.0


@dataclass(slots=True, eq=False)
class _Order:
    stream: OrderStream[Any]
    index: int
    content: RolloutOrder
    attempts: int = 0

    @property
    def sequences(self) -> int:
        return len(self.content.prompts) * self.content.samples


@dataclass(slots=True, eq=False)
class _Running:
    order: _Order
    batch: ray.ObjectRef[Any]
    worker: _Worker
    version: int
    started: float


class OrderStream(Generic[Graded]):
    """The orders of one caller. They go on in the pool between two calls, and beside those of other streams."""

    def __init__(self, pool: RolloutPool, grade: Grade[Graded]) -> None:
        self._pool = pool
        self.grade = grade
        self.closed = False
        self.finished: deque[Finished[Graded]] = deque()
        self._added = 0

    def add(self, order: RolloutOrder) -> int:
        """Queue an order, and return its number. Decoding may begin later, by whichever policy the pool has then."""
        self._pool.waiting.append(_Order(self, self._added, order))
        self._added += 1
        return self._added - 1

    def next(self) -> Finished[Graded]:
        """Wait for an order that is not yet returned; the first to be finished comes first.

        Raises `RolloutError` when an order has failed on all attempts, or when no worker is left.
        """
        last_progress = time.monotonic()
        while not self.finished:
            if self._pool.advance():
                last_progress = time.monotonic()
            elif time.monotonic() - last_progress > _STALL_LOG_S:
                last_progress = time.monotonic()
                logger.warning("no rollout finished for %g s; in flight: %s", _STALL_LOG_S, self._pool.in_flight())
        return self.finished.popleft()

    def started_by(self, index: int) -> int | None:
        """Return the policy version that began an order which is not yet returned; None while it waits."""
        finished = (found.version for found in self.finished if found.index == index)
        return next(finished, self._pool.started_by(self, index))

    def close(self) -> None:
        """Give up what is not finished."""
        self.closed = True
        self._pool.give_up(self)


@dataclass(slots=True)
class RolloutPool:
    """Rollout workers and the weights they should hold.

    An order goes to the worker with the fewest sequences in flight, so a slow one holds nobody up. When a worker dies, or
    an order misses its deadline, the order goes out again: decoding it has no side effects. A worker that died gets
    orders again when Ray has restarted it and it holds the current weights. Every order is for the weights that the pool
    has when it goes out, and a worker refuses it with others.
    """

    actors: Sequence[ActorHandle[Any]]
    sequences_in_flight: int
    deadline_s: float
    version: int = 0
    waiting: deque[_Order] = field(default_factory=deque)
    _weights: ray.ObjectRef[Any] | None = None
    _workers: list[_Worker] = field(default_factory=list)
    _running: dict[ray.ObjectRef[Any], _Running] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._workers = [_Worker(actor) for actor in self.actors]

    def load_weights(self, weights: ray.ObjectRef[Any], version: int) -> None:
        """Give all workers `weights` as policy `version`; returns when every one holds them.

        Of orders in flight the turns under way are finished first, and later ones are by the new weights.
        """
        self._weights, self.version = weights, version
        ray.get([self._send_weights(worker) for worker in self._workers], timeout=self.deadline_s)
        for worker in self._workers:
            worker.mending = None

    def stream(self, grade: Grade[Graded]) -> OrderStream[Graded]:
        """Return a stream without orders, to be closed when it is done with."""
        return OrderStream(self, grade)

    def run(self, orders: Sequence[RolloutOrder], grade: Grade[Graded]) -> Iterator[Finished[Graded]]:
        """Yield the orders as they are finished. Raises as `OrderStream.next`."""
        stream: OrderStream[Graded]
        with closing(self.stream(grade)) as stream:
            for order in orders:
                stream.add(order)
            for _ in orders:
                yield stream.next()

    def advance(self) -> bool:
        """Hand out what fits, wait a little for something to happen, and see to it; return whether anything did."""
        self._hand_out()
        mending = {worker.mending: worker for worker in self._workers if worker.mending is not None}
        done, _ = ray.wait([*self._running, *mending], num_returns=1, timeout=min(_POLL_S, self.deadline_s))
        started = {ref: run.started for ref, run in self._running.items()}
        started |= {ref: worker.mending_since for ref, worker in mending.items()}
        late = [ref for ref, since in started.items() if time.monotonic() - since > self.deadline_s]
        for ref in {*done, *late}:
            if ref in mending:
                self._finish_mending(mending[ref])
            else:
                self._finish_running(ref, self._running.pop(ref))
        self._hand_out()
        return bool(done or late)

    def in_flight(self) -> str:
        """Return some of the orders that are being decoded, for people."""
        running = list(self._running.values())[:8]
        return ", ".join(f"order {run.order.index} on {run.worker.actor}" for run in running)

    def started_by(self, stream: OrderStream[Any], index: int) -> int | None:
        """See `OrderStream.started_by`."""
        found = (r.version for r in self._running.values() if r.order.stream is stream and r.order.index == index)
        return next(found, None)

    def give_up(self, stream: OrderStream[Any]) -> None:
        """See `OrderStream.close`."""
        self.waiting = deque(order for order in self.waiting if order.stream is not stream)
        for run in self._running.values():
            if run.order.stream is stream:
                ray.cancel(run.batch)

    def _hand_out(self) -> None:
        while self.waiting and (worker := self._free_worker(self.waiting[0])) is not None:
            order = self.waiting.popleft()
            worker.sequences += order.sequences
            batch = worker.actor.rollout.remote(replace(order.content, version=self.version))
            graded = order.stream.grade(order.index, batch)
            self._running[graded] = _Running(order, batch, worker, self.version, time.monotonic())

    def _finish_running(self, ref: ray.ObjectRef[Any], run: _Running) -> None:
        order, stream = run.order, run.order.stream
        run.worker.sequences -= order.sequences
        if stream.closed:
            return
        try:
            graded = ray.get(ref, timeout=0)
        except GetTimeoutError:
            ray.cancel(run.batch)
            failure: Exception = TimeoutError(f"no answer within {self.deadline_s:g} s")
        except RayError as error:
            failure = error
            if isinstance(error, RayActorError | StaleWeightsError):
                self._mend(run.worker)
        else:
            stream.finished.append(Finished(order.index, run.batch, graded, run.version))
            return
        order.attempts += 1
        if order.attempts == ATTEMPTS:
            raise RolloutError(f"order {order.index} failed {ATTEMPTS} times, at last with: {failure}") from failure
        logger.warning("order %d goes out again: %s", order.index, failure)
        self.waiting.append(order)

    def _free_worker(self, order: _Order) -> _Worker | None:
        ready = [worker for worker in self._workers if worker.mending is None]
        if not ready:
            return None
        worker = min(ready, key=lambda worker: worker.sequences)
        fits = worker.sequences + order.sequences <= self.sequences_in_flight
        return worker if fits or worker.sequences == 0 else None

    def _mend(self, worker: _Worker) -> None:
        """Wait, beside the work of the others, for a worker that Ray restarts, and give it the weights that it lacks."""
        if worker.mending is None:
            ready = worker.actor.ready.options(**_THROUGH_RESTARTS)
            worker.mending = self._send_weights(worker) if self._weights is not None else ready.remote()
            worker.mending_since = time.monotonic()

    def _finish_mending(self, worker: _Worker) -> None:
        assert worker.mending is not None
        try:
            ray.get(worker.mending, timeout=0)
        except RayError as error:
            self._workers.remove(worker)
            if not self._workers:
                raise RolloutError(f"no rollout worker is left; the last one failed with: {error}") from error
            logger.warning("a rollout worker is lost, %d are left: %s", len(self._workers), error)
        worker.mending = None

    def _send_weights(self, worker: _Worker) -> ray.ObjectRef[Any]:
        update = worker.actor.update_weights.options(**_THROUGH_RESTARTS)
        sent: ray.ObjectRef[Any] = update.remote(self._weights, self.version)
        return sent
