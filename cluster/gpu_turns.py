"""Lets engines and learner use the same GPUs in turn: who has the memory, and in which order it changes hands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from cluster.deadlines import ROLLOUT_DEADLINE
from cluster.errors import RunError, as_raised

if TYPE_CHECKING:
    import ray
    from ray.actor import ActorHandle

_THROUGH_RESTARTS = {"max_task_retries": -1}
"""options of a call that waits until a restarted actor is back"""


class TurnError(RunError):
    """An engine did not free or take its memory. The message names the engine and the cause. The run can be resumed."""


class Learner(Protocol):
    """The learner's methods that `GpuTurns` needs. Each call returns when all ranks are done, or raises at its deadline."""

    def free_memory(self, keep_weights: bool) -> None:
        """Free the GPUs' memory, except the weights if `keep_weights`. A second call without it frees those too."""
        ...

    def take_memory(self) -> None:
        """Undo `free_memory`."""
        ...


class StudentEngines(Protocol):
    """The rollout workers' properties that `GpuTurns` needs."""

    @property
    def engines(self) -> Sequence[ActorHandle[Any]]:
        """The workers that are alive."""
        ...


@dataclass(slots=True)
class GpuTurns:
    """Gives the GPUs to the learner and back to the engines.

    The students' old weights are dropped, because they get new ones before they write again. The teacher's weights never
    change, so they are kept in host memory. If an engine's actor restarts while the engine sleeps, the engine starts only
    when it is woken.
    """

    learner: Learner
    students: StudentEngines
    teachers: Sequence[ActorHandle[Any]]
    """those on the learner's GPUs; the others stay awake"""
    deadline_s: float
    """deadline of each step of the engines, including the end of the turns in flight"""
    engines_sleep: bool = False

    def to_learner(self) -> None:
        """Let the engines finish their turns and sleep, then give the learner its memory. Raises `TurnError`."""
        self.engines_sleep = True
        self._wait("falling asleep", [*self._students("sleep", False), *self._teacher("sleep", True)])
        self.learner.take_memory()

    def to_engines(self, sync_weights: Callable[[], None]) -> None:
        """Wake the engines; the students get new weights by `sync_weights`. Raises `TurnError`.

        The order keeps the GPUs' peak memory low: while the weights are sent, the learner and the students hold nothing but
        weights. The KV caches come last.
        """
        self.learner.free_memory(keep_weights=True)
        self._wait("waking the weights", self._students("wake_weights"))
        sync_weights()
        self.learner.free_memory(keep_weights=False)
        self._wait("waking the weights", self._teacher("wake_weights"))
        self._wait("waking the KV cache", [*self._students("wake_kv_cache"), *self._teacher("wake_kv_cache")])
        self.engines_sleep = False

    def _students(self, method: str, *arguments: object) -> list[tuple[str, ray.ObjectRef[Any]]]:
        return [(f"rollout worker {engine}", _call(engine, method, *arguments)) for engine in self.students.engines]

    def _teacher(self, method: str, *arguments: object) -> list[tuple[str, ray.ObjectRef[Any]]]:
        return [("the teacher", _call(teacher, method, *arguments)) for teacher in self.teachers]

    def _wait(self, what: str, calls: Sequence[tuple[str, ray.ObjectRef[Any]]]) -> None:
        import ray

        names: Mapping[ray.ObjectRef[Any], str] = {call: name for name, call in calls}
        deadline, pending = monotonic() + self.deadline_s, list(names)
        while pending:
            done, pending = ray.wait(pending, num_returns=1, timeout=max(deadline - monotonic(), 0.0))
            if not done:
                late = ", ".join(names[call] for call in pending)
                raise TurnError(
                    f"{what} took more than {self.deadline_s:g} s: {late}. Raise {ROLLOUT_DEADLINE}, or resume the run"
                )
            try:
                ray.get(done)
            except ray.exceptions.RayError as error:
                raise TurnError(f"{what} failed: {names[done[0]]}: {as_raised(error)}. Resume the run") from error


def _call(engine: ActorHandle[Any], method: str, *arguments: object) -> ray.ObjectRef[Any]:
    call: ray.ObjectRef[Any] = getattr(engine, method).options(**_THROUGH_RESTARTS).remote(*arguments)
    return call
