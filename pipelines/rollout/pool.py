"""Gives rollout orders to free workers, and each decoded order to the reward actor."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.rollout import StaleWeightsError
from cluster.deadlines import ROLLOUT_DEADLINE, results
from cluster.errors import RunError, as_raised
from cluster.task_names import task_name
from cluster.weight_transport import InFlight
from pipelines.rollout.activity import ActivityMonitor
from pipelines.rollout.order import is_decoded
from pipelines.rollout.order_stream import FinishedOrder, Grade, Graded, OrderStream, QueuedOrder
from pipelines.rollout.pending_tasks import LateError, PendingTask, PendingTasks
from rewards.schemes import RewardError

if TYPE_CHECKING:
    from ray.actor import ActorHandle

logger = logging.getLogger(__name__)

ATTEMPTS = 3
_POLL_S = 2.0
_THROUGH_RESTARTS = {"max_task_retries": -1}
"""options of a call that waits while its actor restarts; other calls fail then"""


class RolloutError(RunError):
    """An order failed on every attempt, or no worker is left; the message names the last cause."""


@dataclass(frozen=True, slots=True, eq=False)
class _Worker:
    name: str
    actor: ActorHandle[Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    queued: QueuedOrder
    worker: _Worker | None
    """None if the order is decoded and only its grading is repeated"""


@dataclass(frozen=True, slots=True, eq=False)
class _Mending:
    worker: _Worker


@dataclass(slots=True)
class RolloutPool:
    """Rollout workers and the weights they should hold.

    An order goes to the worker with the fewest sequences in flight, so a slow worker does not hold up the others. When a
    worker dies, or an order misses its deadline, the order goes out again: decoding it has no side effects. A worker that
    died gets orders again when Ray has restarted it and it holds the current weights. So does one that joins later. Every order
    names the policy version that the pool has when it goes out. A worker with other weights refuses the order.
    """

    actors: Sequence[ActorHandle[Any]]
    sequences_in_flight: int
    deadline_s: float
    in_flight: InFlight = InFlight.FINISH
    activity: ActivityMonitor | None = None
    """watches the workers and the teacher; without it only finished orders count as progress"""
    name: str = "rollout"
    """of the actors, in messages"""
    later: Sequence[ActorHandle[Any]] = ()
    """further workers, which may not be up yet, or never be. Each joins once, when it is up"""
    version: int = 0
    waiting: deque[QueuedOrder] = field(default_factory=deque)
    _weights: Callable[[], ray.ObjectRef[Any]] | None = None
    """puts the current weights in the object store; None as long as the workers have those that they started with"""
    _loads: dict[_Worker, int] = field(default_factory=dict)
    """sequences in flight of each worker that is not lost"""
    _mending: dict[_Worker, _Mending] = field(default_factory=dict)
    """workers that get no orders until they are back, or have joined, and hold the current weights"""
    _absent: dict[ray.ObjectRef[Any], _Worker] = field(default_factory=dict)
    """workers that have not joined yet, by the answer that says that one is up"""
    _pending: PendingTasks[_Running | _Mending] = field(init=False)

    def __post_init__(self) -> None:
        workers = [_Worker(f"{self.name}-{number}", actor) for number, actor in enumerate([*self.actors, *self.later])]
        self._loads = dict.fromkeys(workers[: len(self.actors)], 0)
        self._absent = {
            worker.actor.ready.options(**_THROUGH_RESTARTS).remote(): worker for worker in workers[len(self.actors) :]
        }
        self._pending = PendingTasks(self.deadline_s)

    def load_weights(self, weights: ray.ObjectRef[Any], version: int) -> None:
        """Give all workers `weights` as policy `version`, and wait until those that take orders hold these.

        `in_flight` says what happens to turns in progress. Later turns are written with the new weights. Nobody waits for a worker
        that restarts: it gets these weights when it is back.
        """
        self.took_weights(version, lambda: weights)
        self._asked(self._send_weights, "loading weights")

    @property
    def engines(self) -> list[ActorHandle[Any]]:
        """The workers that are not lost."""
        return [worker.actor for worker in list(self._loads)]  # also asked from another thread

    @property
    def restarting(self) -> int:
        """How many workers get no orders until they are back, or have joined, and hold the current weights."""
        return len(self._mending)

    @property
    def absent(self) -> list[str]:
        """The names of the workers that have not joined yet."""
        return [worker.name for worker in list(self._absent.values())]  # also asked from another thread

    @property
    def named_engines(self) -> dict[str, ActorHandle[Any]]:
        """The workers that take orders, by the names of their actors."""
        return {worker.name: worker.actor for worker in self._taking_orders()}

    def processes(self) -> list[int]:
        """Return the process ids of `named_engines`. A restarted worker has another id."""
        return self._asked(lambda worker: worker.actor.ready.remote(), "asking the rollout workers for their processes")

    def gpus(self) -> set[str]:
        """Return the GPUs of `named_engines`, as `own_gpus` names them."""
        asked = self._asked(lambda worker: worker.actor.gpus.remote(), "asking the rollout workers for their GPUs")
        return set().union(*asked)

    def took_weights(self, version: int, weights: Callable[[], ray.ObjectRef[Any]]) -> None:
        """Note that `named_engines` hold policy `version`. `weights` puts it in the object store for a worker that restarts."""
        self._weights, self.version = weights, version
        for worker in list(self._mending):
            self._mend(worker)

    def stream(self, grade: Grade[Graded]) -> OrderStream[Graded]:
        """Return a stream without orders. The caller closes it at the end."""
        return OrderStream(self, grade)

    def advance(self) -> bool:
        """Hand out orders, wait a little for tasks to finish, and handle these. Return whether any did. Raises `RolloutError`."""
        self._let_join()
        if not self._loads:
            raise RolloutError("no rollout worker is left")
        self._hand_out()
        if self.activity is not None:
            self.activity.look()
        tasks = self._pending.next(_POLL_S)
        for task in tasks:
            if isinstance(task.key, _Mending):
                self._finish_mending(task.key, task)
            else:
                self._finish_running(task.key, task)
        self._hand_out()
        return bool(tasks)

    def awaited(self) -> str:
        """Return as text what the pool waits for: answers by worker, and workers that restart or join."""
        parts = [f"{answers} answers of {worker.name}" for worker, answers in self._loads.items() if answers]
        parts += [f"{len(self._mending)} workers without the current weights"] if self._mending else []
        return ", ".join(parts) or "nothing"

    def _let_join(self) -> None:
        """Take in the workers that have come up. One gets orders once it holds the current weights."""
        if not self._absent:
            return
        up, _ = ray.wait(list(self._absent), num_returns=len(self._absent), timeout=0)
        for ready in up:
            worker = self._absent.pop(ready)
            try:
                ray.get(ready)
            except RayError as error:
                logger.warning("%s cannot join the run: %s", worker.name, as_raised(error))
                continue
            logger.info("%s joins the run", worker.name)
            self._loads[worker] = 0
            if self._weights is not None:
                self._mend(worker)
            if self.activity is not None:
                self.activity.add(worker.actor)

    def _hand_out(self) -> None:
        while self.waiting and (worker := self._free_worker(self.waiting[0])) is not None:
            queued = self.waiting.popleft()
            self._loads[worker] += queued.sequences
            queued.version = self.version
            rollout = worker.actor.rollout.options(name=queued.task_name)
            queued.batch = rollout.remote(queued.order.at_version(self.version))
            self._pending.add(_Running(queued, worker), queued.stream.grade(queued.number, queued.batch))

    def _finish_running(self, run: _Running, task: PendingTask[Any]) -> None:
        queued, stream = run.queued, run.queued.stream
        assert queued.batch is not None and queued.version is not None
        if run.worker in self._loads:
            self._loads[run.worker] -= queued.sequences
        if stream.closed:
            return
        try:
            graded = task.outcome()
        except LateError as error:
            failure: Exception = LateError(f"{error}: raise {ROLLOUT_DEADLINE}")
        except RewardError as error:  # it would fail in the same way each time
            raise RolloutError(str(as_raised(error))) from error
        except RayError as error:
            failure = error
        else:
            stream.finished.append(FinishedOrder(queued.number, queued.batch, graded, queued.version))
            return
        queued.attempts += 1
        decoded = is_decoded(queued.batch)
        if not decoded:
            self._give_up(queued.batch, run.worker, failure)
        if queued.attempts == ATTEMPTS:
            raise RolloutError(
                f"order {queued.number} failed {ATTEMPTS} times, at last with: {as_raised(failure)}"
            ) from failure
        if decoded:
            logger.warning("order %d is graded again: %s", queued.number, as_raised(failure))
            self._pending.add(_Running(queued, None), stream.grade(queued.number, queued.batch))
        else:
            logger.warning("order %d goes out again: %s", queued.number, as_raised(failure))
            queued.batch = queued.version = None
            self.waiting.append(queued)

    def _give_up(self, batch: ray.ObjectRef[Any], worker: _Worker | None, failure: Exception) -> None:
        if isinstance(failure, LateError):
            ray.cancel(batch)
        elif (
            worker is not None
            and isinstance(failure, RayActorError | StaleWeightsError)
            and worker in self._taking_orders()
        ):
            self._mend(worker)

    def _free_worker(self, queued: QueuedOrder) -> _Worker | None:
        worker = min(self._taking_orders(), key=self._loads.__getitem__, default=None)
        if worker is None:
            return None
        load = self._loads[worker]
        return worker if load == 0 or load + queued.sequences <= self.sequences_in_flight else None

    def replace(self, name: str) -> None:
        """End a worker of `named_engines`, so that Ray restarts it. It gets the current weights before it gets orders."""
        (worker,) = (worker for worker in self._loads if worker.name == name)
        logger.warning("%s is ended. It gets the current weights when Ray has restarted it", name)
        ray.kill(worker.actor, no_restart=False)
        self._mend(worker)

    def _mend(self, worker: _Worker) -> None:
        """Wait until Ray has restarted the worker, and give it the current weights. The other workers go on meanwhile."""
        self._mending[worker] = _Mending(worker)
        ready = worker.actor.ready.options(**_THROUGH_RESTARTS)
        back = self._send_weights(worker, **_THROUGH_RESTARTS) if self._weights is not None else ready.remote()
        self._pending.add(self._mending[worker], back)

    def _finish_mending(self, mending: _Mending, task: PendingTask[Any]) -> None:
        worker = mending.worker
        if self._mending.get(worker) is not mending:  # it has got newer weights since then
            return
        del self._mending[worker]
        try:
            task.outcome()
        except (LateError, RayError) as error:
            del self._loads[worker]
            self._let_join()
            if not self._loads:
                raise RolloutError(
                    f"no rollout worker is left; the last one failed with: {as_raised(error)}"
                ) from error
            logger.warning("a rollout worker is lost, %d are left: %s", len(self._loads), as_raised(error))

    def _taking_orders(self) -> list[_Worker]:
        """Return the workers that take orders."""
        return [worker for worker in self._loads if worker not in self._mending]

    def _asked(self, call: Callable[[_Worker], ray.ObjectRef[Any]], what: str) -> list[Any]:
        """Call the workers that take orders, and return their answers. One that has died meanwhile is mended."""
        calls, answers = {worker: call(worker) for worker in self._taking_orders()}, []
        for worker, asked in calls.items():
            try:
                answers.append(results(asked, what, self.deadline_s, ROLLOUT_DEADLINE))
            except RayActorError:
                self._mend(worker)
        return answers

    def _send_weights(self, worker: _Worker, **options: int) -> ray.ObjectRef[Any]:
        assert self._weights is not None
        update = worker.actor.update_weights.options(**options, name=task_name("sync"))
        sent: ray.ObjectRef[Any] = update.remote(self._weights(), self.version, self.in_flight)
        return sent
