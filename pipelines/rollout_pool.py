"""Rollout orders to whichever worker is free, and each finished one on to the reward actor."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from actors.rollout import RolloutOrder, StaleWeightsError
from cluster.weight_transport import InFlight

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


@dataclass(slots=True)
class _Worker:
    actor: ActorHandle[Any]
    sequences: int = 0
    """in flight"""
    mending: ray.ObjectRef[Any] | None = None
    """done when the worker is back with the weights that it lacks; until then it gets no orders"""
    mending_since: float = 0.0


@dataclass(slots=True)
class _Running:
    index: int
    batch: ray.ObjectRef[Any]
    worker: _Worker
    started: float


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
    _workers: list[_Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._workers = [_Worker(actor) for actor in self.actors]

    def load_weights(self, weights: ray.ObjectRef[Any], version: int) -> None:
        """Give all workers `weights` as policy `version`; returns when every one holds them."""
        self._weights, self.version = weights, version
        ray.get([self._send_weights(worker) for worker in self._workers], timeout=self.deadline_s)
        for worker in self._workers:
            worker.mending = None

    @property
    def engines(self) -> list[ActorHandle[Any]]:
        """The workers that are not lost."""
        return [worker.actor for worker in self._workers]

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
        for worker in self._workers:
            worker.mending = None

    def run(
        self, orders: Sequence[RolloutOrder], grade: Callable[[int, ray.ObjectRef[Any]], ray.ObjectRef[Graded]]
    ) -> Iterator[Finished[Graded]]:
        """Yield the orders as they are finished; `grade` starts the grading of one.

        Raises `RolloutError` when an order has failed on all attempts, or when no worker is left.
        """
        waiting = deque(range(len(orders)))
        attempts = [0] * len(orders)
        running: dict[ray.ObjectRef[Any], _Running] = {}
        last_progress = time.monotonic()
        while waiting or running:
            while waiting and (worker := self._free_worker(orders[waiting[0]])) is not None:
                index = waiting.popleft()
                worker.sequences += _sequences(orders[index])
                batch = worker.actor.rollout.remote(orders[index])
                running[grade(index, batch)] = _Running(index, batch, worker, time.monotonic())
            mending = {worker.mending: worker for worker in self._workers if worker.mending is not None}
            done, _ = ray.wait([*running, *mending], num_returns=1, timeout=min(_POLL_S, self.deadline_s))
            started = {ref: run.started for ref, run in running.items()}
            started |= {ref: worker.mending_since for ref, worker in mending.items()}
            late = [ref for ref, since in started.items() if time.monotonic() - since > self.deadline_s]
            for ref in {*done, *late}:
                last_progress = time.monotonic()
                if ref in mending:
                    self._finish_mending(mending[ref])
                    continue
                run = running.pop(ref)
                run.worker.sequences -= _sequences(orders[run.index])
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
                stalled = ", ".join(f"order {run.index} on {run.worker.actor}" for run in list(running.values())[:8])
                logger.warning("no rollout finished for %g s; in flight: %s", _STALL_LOG_S, stalled)

    def _free_worker(self, order: RolloutOrder) -> _Worker | None:
        ready = [worker for worker in self._workers if worker.mending is None]
        if not ready:
            return None
        worker = min(ready, key=lambda worker: worker.sequences)
        fits = worker.sequences + _sequences(order) <= self.sequences_in_flight
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
        weights = self._weights() if callable(self._weights) else self._weights
        sent: ray.ObjectRef[Any] = update.remote(weights, self.version, self.in_flight)
        return sent


def _sequences(order: RolloutOrder) -> int:
    return len(order.prompts) * order.samples
