"""Engines and learner in turn on the same GPUs: who has the memory, and in which order it changes hands."""

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
"""of a call that waits for the actor to be back"""


class TurnError(RunError):
    """Memory did not change hands; the message names the engine and the cause. The run can be resumed."""


class Learner(Protocol):
    """What a turn needs of the learner; each call returns when all ranks are done, or raises at its deadline."""

    def free_memory(self, keep_weights: bool) -> None:
        """Give the GPUs' memory back, all but the weights if they are kept; a second call gives those back too."""
        ...

    def take_memory(self) -> None:
        """Undo `free_memory`."""
        ...


class StudentEngines(Protocol):
    """What a turn needs of the rollout workers."""

    @property
    def engines(self) -> Sequence[ActorHandle[Any]]:
        """Return those that work."""
        ...


@dataclass(slots=True)
class GpuTurns:
    """Gives the GPUs to the learner and back to the engines.

    The students get new weights before they write again, so their old ones are dropped. The teacher's do not change: they
    are kept in host memory. An engine that is restarted while it sleeps does not start before it is woken.
    """

    learner: Learner
    students: StudentEngines
    teacher: ActorHandle[Any] | None
    """None where it stays awake, on other GPUs than the learner's"""
    deadline_s: float
    """for the engines' part of each step, in which turns in flight come to their end"""
    engines_sleep: bool = False

    def to_learner(self) -> None:
        """Have the engines sleep, when they have written what they are at, and give the learner its memory."""
        self.engines_sleep = True
        self._wait("falling asleep", [*self._students("sleep", False), *self._teacher("sleep", True)])
        self.learner.take_memory()

    def to_engines(self, sync_weights: Callable[[], None]) -> None:
        """Wake the engines, the students with what `sync_weights` brings them.

        At no time is more in the GPUs' memory than one step needs: the learner keeps only its weights while the students
        have only theirs, and the KV caches come last.
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
        return [] if self.teacher is None else [("the teacher", _call(self.teacher, method, *arguments))]

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
