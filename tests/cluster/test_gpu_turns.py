"""Turns on shared GPUs, with engines that are real Ray actors: the order of all that happens, errors and deadlines."""

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray
from ray.actor import ActorHandle

from cluster.gpu_turns import GpuTurns, TurnError

pytestmark = pytest.mark.ray


class Log:
    """Outlives the engines: what was done, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> int:
        self.lines.append(line)
        return self.lines.count(line)

    def all(self) -> list[str]:
        return self.lines


class Engine:
    """Logs what it is asked for; `trouble` is what happens at the first call of a method, as `method: what`."""

    def __init__(self, name: str, log: ActorHandle[Any], trouble: str = "") -> None:
        self.name, self.log, self.trouble = name, log, trouble

    async def sleep(self, keep_weights: bool) -> None:
        await self._do("sleep", f"sleep {'keeping' if keep_weights else 'discarding'}")

    async def wake_weights(self) -> None:
        await self._do("wake_weights", "weights")

    async def wake_kv_cache(self) -> None:
        await self._do("wake_kv_cache", "kv cache")

    async def _do(self, method: str, line: str) -> None:
        times = await self.log.add.remote(f"{self.name}: {line}")
        trouble = self.trouble.removeprefix(f"{method}: ") if times == 1 else ""
        if trouble == "fail":
            raise ValueError("out of memory")
        if trouble == "die":
            os._exit(1)
        if trouble == "hang":
            await asyncio.Event().wait()


class Learner:
    def __init__(self, log: ActorHandle[Any]) -> None:
        self.log = log

    def free_memory(self, keep_weights: bool) -> None:
        ray.get(self.log.add.remote(f"learner: frees all{' but its weights' if keep_weights else ''}"))

    def take_memory(self) -> None:
        ray.get(self.log.add.remote("learner: takes its memory"))


class Students:
    def __init__(self, *engines: ActorHandle[Any]) -> None:
        self.engines = engines


@pytest.fixture
def log(ray_cluster: None) -> Iterator[ActorHandle[Any]]:
    actor = ray.remote(Log).options(num_cpus=0).remote()
    yield actor
    ray.kill(actor)


@pytest.fixture
def engine(log: ActorHandle[Any]) -> Iterator[Callable[..., ActorHandle[Any]]]:
    actors = []

    def make(name: str, trouble: str = "") -> ActorHandle[Any]:
        actors.append(ray.remote(Engine).options(num_cpus=0, max_restarts=1).remote(name, log, trouble))
        return actors[-1]

    yield make
    for actor in actors:
        ray.kill(actor)


def lines(log: ActorHandle[Any]) -> list[str]:
    found: list[str] = ray.get(log.all.remote())
    return found


def syncing(log: ActorHandle[Any]) -> Callable[[], None]:
    return lambda: ray.get(log.add.remote("sync"))


def test_memory_changes_hands_step_by_step(log: ActorHandle[Any], engine: Callable[..., ActorHandle[Any]]) -> None:
    turns = GpuTurns(Learner(log), Students(engine("student")), [engine("teacher")], 60)
    turns.to_learner()
    assert sorted(lines(log)[:2]) == ["student: sleep discarding", "teacher: sleep keeping"]
    assert lines(log)[2:] == ["learner: takes its memory"]
    turns.to_engines(syncing(log))
    assert lines(log)[3:8] == [
        "learner: frees all but its weights",
        "student: weights",
        "sync",
        "learner: frees all",
        "teacher: weights",
    ]
    assert sorted(lines(log)[8:]) == ["student: kv cache", "teacher: kv cache"]


def test_a_teacher_on_other_gpus_is_left_alone(log: ActorHandle[Any], engine: Callable[..., ActorHandle[Any]]) -> None:
    turns = GpuTurns(Learner(log), Students(engine("student")), [], 60)
    turns.to_learner()
    turns.to_engines(syncing(log))
    assert [line for line in lines(log) if line.startswith("student")] == [
        "student: sleep discarding",
        "student: weights",
        "student: kv cache",
    ]


def test_it_is_known_whether_the_engines_sleep(log: ActorHandle[Any], engine: Callable[..., ActorHandle[Any]]) -> None:
    turns = GpuTurns(Learner(log), Students(engine("student")), [], 60)
    assert not turns.engines_sleep
    turns.to_learner()
    assert turns.engines_sleep
    turns.to_engines(syncing(log))
    assert not turns.engines_sleep


@pytest.mark.parametrize("method", ["sleep", "wake_weights", "wake_kv_cache"])
def test_an_engine_that_cannot_ends_the_turn_with_its_name_and_reason(
    log: ActorHandle[Any], engine: Callable[..., ActorHandle[Any]], method: str
) -> None:
    turns = GpuTurns(Learner(log), Students(engine("a"), engine("b", f"{method}: fail")), [], 60)

    def whole_turn() -> None:
        turns.to_learner()
        turns.to_engines(syncing(log))

    with pytest.raises(
        TurnError, match=r"failed: rollout worker Actor\(Engine, \w+\): out of memory\. Resume the run$"
    ):
        whole_turn()
    assert turns.engines_sleep


def test_a_teacher_that_does_not_answer_is_named_at_the_deadline(
    log: ActorHandle[Any], engine: Callable[..., ActorHandle[Any]]
) -> None:
    student, teacher = engine("student"), engine("teacher", "sleep: hang")
    turns = GpuTurns(Learner(log), Students(student), [teacher], deadline_s=0.2)
    with pytest.raises(
        TurnError,
        match=r"^falling asleep took more than 0.2 s: .*the teacher\. Raise rollout\.deadline_s, or resume the run$",
    ):
        turns.to_learner()
    assert "learner: takes its memory" not in lines(log)


def test_an_engine_that_restarts_while_it_sleeps_takes_part_in_the_rest(
    log: ActorHandle[Any], engine: Callable[..., ActorHandle[Any]]
) -> None:
    turns = GpuTurns(Learner(log), Students(engine("student", "wake_weights: die")), [], 60)
    turns.to_learner()
    turns.to_engines(syncing(log))
    assert [line for line in lines(log) if not line.startswith("learner")] == [
        "student: sleep discarding",
        "student: weights",
        "student: weights",
        "sync",
        "student: kv cache",
    ]


def test_an_engine_that_is_gone_for_good_ends_the_turn(
    log: ActorHandle[Any], engine: Callable[..., ActorHandle[Any]]
) -> None:
    student = engine("student")
    turns = GpuTurns(Learner(log), Students(student), [], 60)
    turns.to_learner()
    ray.kill(student)
    with pytest.raises(TurnError, match="waking the weights failed: rollout worker"):
        turns.to_engines(syncing(log))
    assert "sync" not in lines(log)
