"""Rollout orders to whichever worker is free, and each finished one on to the reward actor."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import ray
from ray.exceptions import RayActorError, RayError

from actors.rollout import RolloutOrder, StaleWeightsError
from cluster.weight_transport import InFlight
from pipelines.arrivals import Arrivals, Call, LateError
from pipelines.least_loaded import LeastLoaded

if TYPE_CHECKING:
    from ray.actor import ActorHandle

logger = logging.getLogger(__name__)

Graded = TypeVar("Graded")
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
    """of the order in the sequence that was given"""
    batch: ray.ObjectRef[Any]
    """of its `TrajectoryBatch`, in the object store"""
    graded: Graded


@dataclass(frozen=True, slots=True, eq=False)
class _Worker:
    actor: ActorHandle[Any]


@dataclass(frozen=True, slots=True)
class _Running:
    index: int
    batch: ray.ObjectRef[Any]
    worker: _Worker


@dataclass(frozen=True, slots=True)
class _Mending:
    worker: _Worker


@dataclass(slots=True)
class RolloutPool:
    """Rollout workers and the weights they should hold.

    An order goes to the worker with the fewest sequences in flight, so a slow one holds nobody up. When a worker dies, or
    an order misses its deadline, the order goes out again: decoding it has no side effects. A worker that died gets
    orders again when Ray has restarted it and it holds the current weights.
    """

    actors: Sequence[ActorHandle[Any]]
    sequences_in_flight: int
    deadline_s: float
    in_flight: InFlight = InFlight.FINISH
    version: int = 0
    _weights: ray.ObjectRef[Any] | Callable[[], ray.ObjectRef[Any]] | None = None
    _workers: LeastLoaded[_Worker] = field(default_factory=LeastLoaded)
    """loads are sequences in flight"""
    _mending: dict[_Worker, ray.ObjectRef[Any]] = field(default_factory=dict)
    """what is done when a worker is back with the weights that it lacks; until then it gets no orders"""

    def __post_init__(self) -> None:
        self._workers = LeastLoaded.of(_Worker(actor) for actor in self.actors)

    def load_weights(self, weights: ray.ObjectRef[Any], version: int) -> None:
        """Give all workers `weights` as policy `version`; returns when every one holds them."""
        self._weights, self.version = weights, version
        ray.get([self._send_weights(worker) for worker in self._workers.members], timeout=self.deadline_s)
        self._all_mended()

    @property
    def engines(self) -> list[ActorHandle[Any]]:
        """The workers that are not lost."""
        return [worker.actor for worker in self._workers.members]

    def processes(self) -> list[int]:
        """Return the process ids of `engines`: others after a restart."""
        ready = [engine.ready.options(**_THROUGH_RESTARTS).remote() for engine in self.engines]
        processes: list[int] = ray.get(ready, timeout=self.deadline_s)
        return processes

    def gpus(self) -> set[str]:
        """Return the GPUs of all `engines`, as `own_gpus` names them."""
        return set().union(*ray.get([engine.gpus.remote() for engine in self.engines], timeout=self.deadline_s))

    def took_weights(self, version: int, weights: Callable[[], ray.ObjectRef[Any]]) -> None:
        """Note that all workers hold policy `version`; `weights` puts it in the object store for one that restarts."""
        self._weights, self.version = weights, version
        self._all_mended()

    def run(
        self, orders: Sequence[RolloutOrder], grade: Callable[[int, ray.ObjectRef[Any]], ray.ObjectRef[Graded]]
    ) -> Iterator[Finished[Graded]]:
        """Yield the orders as they are finished; `grade` starts the grading of one.

        Raises `RolloutError` when an order has failed on all attempts, or when no worker is left.
        """
        waiting = deque(range(len(orders)))
        attempts = [0] * len(orders)
        arrivals: Arrivals[_Running | _Mending] = Arrivals(self.deadline_s)
        for worker, mended in self._mending.items():
            arrivals.add(_Mending(worker), mended)
        last_progress = time.monotonic()
        if orders and not self._workers.members:
            raise RolloutError("no rollout worker is left")

        def hand_out() -> None:
            while waiting and (worker := self._free_worker(orders[waiting[0]])) is not None:
                index = waiting.popleft()
                self._workers.change(worker, _sequences(orders[index]))
                batch = worker.actor.rollout.remote(orders[index])
                arrivals.add(_Running(index, batch, worker), grade(index, batch))

        while waiting or len(arrivals) > len(self._mending):
            hand_out()
            for call in arrivals.next(_POLL_S):
                last_progress = time.monotonic()
                if isinstance(call.key, _Mending):
                    self._finish_mending(call.key.worker, call)
                    continue
                run = call.key
                self._workers.change(run.worker, -_sequences(orders[run.index]))
                try:
                    graded = call.outcome()
                except LateError as error:
                    ray.cancel(run.batch)
                    failure: Exception = error
                except RayError as error:
                    failure = error
                    if isinstance(error, RayActorError | StaleWeightsError) and self._workers.finds(run.worker):
                        arrivals.add(_Mending(run.worker), self._mend(run.worker))
                else:
                    hand_out()  # first: the caller may take its time
                    yield Finished(run.index, run.batch, graded)
                    continue
                attempts[run.index] += 1
                if attempts[run.index] == ATTEMPTS:
                    raise RolloutError(
                        f"order {run.index} failed {ATTEMPTS} times, at last with: {failure}"
                    ) from failure
                logger.warning("order %d goes out again: %s", run.index, failure)
                waiting.append(run.index)
            if time.monotonic() - last_progress > _STALL_LOG_S:
                last_progress = time.monotonic()
                oldest = [call.key for call in arrivals.oldest(8) if isinstance(call.key, _Running)]
                stalled = ", ".join(f"order {run.index} on {run.worker.actor}" for run in oldest)
                logger.warning("no rollout finished for %g s; in flight: %s", _STALL_LOG_S, stalled)

    def _free_worker(self, order: RolloutOrder) -> _Worker | None:
        worker = self._workers.least()
        if worker is None:
            return None
        load = self._workers.load(worker)
        return worker if load == 0 or load + _sequences(order) <= self.sequences_in_flight else None

    def _mend(self, worker: _Worker) -> ray.ObjectRef[Any]:
        """Wait, beside the work of the others, for a worker that Ray restarts, and give it the weights that it lacks."""
        ready = worker.actor.ready.options(**_THROUGH_RESTARTS)
        self._workers.set_aside(worker)
        self._mending[worker] = self._send_weights(worker) if self._weights is not None else ready.remote()
        return self._mending[worker]

    def _finish_mending(self, worker: _Worker, call: Call[Any]) -> None:
        if self._mending.pop(worker, None) is None:  # it got newer weights since
            return
        try:
            call.outcome()
        except (LateError, RayError) as error:
            self._workers.remove(worker)
            if not self._workers.members:
                raise RolloutError(f"no rollout worker is left; the last one failed with: {error}") from error
            logger.warning("a rollout worker is lost, %d are left: %s", len(self._workers.members), error)
        else:
            self._workers.include(worker)

    def _all_mended(self) -> None:
        for worker in self._mending:
            self._workers.include(worker)
        self._mending.clear()

    def _send_weights(self, worker: _Worker) -> ray.ObjectRef[Any]:
        update = worker.actor.update_weights.options(**_THROUGH_RESTARTS)
        weights = self._weights() if callable(self._weights) else self._weights
        sent: ray.ObjectRef[Any] = update.remote(weights, self.version, self.in_flight)
        return sent


def _sequences(order: RolloutOrder) -> int:
    return len(order.prompts) * order.samples
