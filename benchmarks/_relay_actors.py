"""A run's rollout worker and teacher, adapted to decode planned answers, and a local Ray to run them in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from actors.engine_host import EngineHost
from actors.engines.base import GenerationRequest
from actors.engines.teachers import TeacherAccess
from actors.engines.vllm import VllmEngine
from actors.rollout import RolloutWorker
from actors.settings import EngineSettings
from actors.teacher import TeacherActor
from actors.tiny_models import TinyModelSettings, write_config, write_tokenizer
from benchmarks._planned_answers import AnswerPlan, Lengths, PlannedSequence, sequences
from benchmarks._schedules import Instant, in_lock_step, relayed
from cluster.devices import Device, engine_environment

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from vllm import SamplingParams

PLAIN_IDS = range(6, 16)
"""token ids of the digits, which the prompts consist of"""
START_S = 240.0

Schedule = Literal["relay", "lock_step", "alone"]


@dataclass(frozen=True, slots=True)
class Spent:
    """What an actor has spent since its start, or between two points in time."""

    steps: int
    """steps of its engine"""
    busy_s: float
    """wall time inside these steps"""
    cpu_s: float
    """CPU time of its process"""

    def __sub__(self, earlier: Spent) -> Spent:
        return Spent(self.steps - earlier.steps, self.busy_s - earlier.busy_s, self.cpu_s - earlier.cpu_s)

    @property
    def step_s(self) -> float:
        """Mean wall time of a step, in seconds."""
        return self.busy_s / max(self.steps, 1)


@dataclass(frozen=True, slots=True)
class Played:
    """The measurements of decoding all planned answers."""

    wall_s: float
    student_back: tuple[int, int]
    """prompt tokens of the student's turns after calls, and how many of them its prefix cache held"""
    teacher_back: tuple[int, int]
    """prompt tokens of the teacher's turns from an answer's second call on, and how many of them its prefix cache held"""

    @classmethod
    def of(cls, answers: Sequence[PlannedSequence], wall_s: float) -> Played:
        """Return the measurements of finished answers."""
        back = [call for answer in answers for call in answer.trajectory().calls[1:]]
        return cls(
            wall_s,
            (sum(a.back_prompt_tokens for a in answers), sum(a.back_cached_tokens for a in answers)),
            (sum(call.prompt_tokens for call in back), sum(call.cached_tokens for call in back)),
        )


class PlannedEngine(VllmEngine):
    """An engine that writes all requested tokens, because it ignores the end-of-text token."""

    def _sampling_params(self, request: GenerationRequest) -> SamplingParams:
        params = super()._sampling_params(request)
        params.ignore_eos = True
        return params


class MeteredHost(EngineHost):
    """An engine host that reports what it has spent."""

    def spent(self) -> Spent:
        """Return what this actor has spent since its start."""
        times, load = os.times(), self.engine.load
        return Spent(load.steps, load.busy_s, times.user + times.system)


class PlannedTeacher(MeteredHost, TeacherActor):
    """The teacher. It can also decode its turns alone."""

    engine_type = PlannedEngine

    async def play(self, plans: Sequence[AnswerPlan], lengths: Lengths, seed: int) -> Played:
        """Decode the teacher's turns and return the measurements. The student's turns take no time."""
        answers = sequences(plans, self.engine.grammar, lengths, PLAIN_IDS, seed)
        started = perf_counter()
        await relayed(answers, Instant(PLAIN_IDS[0]), self)
        return Played.of(answers, perf_counter() - started)


class PlannedWorker(MeteredHost, RolloutWorker):
    """A rollout worker that decodes planned answers by either schedule. It can also decode the student's turns alone."""

    engine_type = PlannedEngine

    async def play(self, plans: Sequence[AnswerPlan], lengths: Lengths, seed: int, schedule: Schedule) -> Played:
        """Decode all answers by `schedule` and return the measurements. With "alone", the teacher's turns take no time."""
        answers = sequences(plans, self._grammar, lengths, PLAIN_IDS, seed)
        teacher = Instant(PLAIN_IDS[0]) if schedule == "alone" else self._teacher
        decode = in_lock_step if schedule == "lock_step" else relayed
        started = perf_counter()
        await decode(answers, self, teacher)
        return Played.of(answers, perf_counter() - started)


def write_model(folder: Path, settings: TinyModelSettings) -> str:
    """Write a model with random weights to `folder` and return its path."""
    import torch
    from transformers import AutoConfig, Qwen3ForCausalLM

    write_tokenizer(folder, "text")
    write_config(folder, settings)
    torch.manual_seed(0)
    Qwen3ForCausalLM(AutoConfig.from_pretrained(folder, trust_remote_code=False)).float().save_pretrained(folder)
    return str(folder)


@contextmanager
def local_ray() -> Iterator[None]:
    """Start a local Ray for this benchmark, and end it after the block."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    root = str(Path(__file__).parent.parent)
    ray.init(
        address="local",
        namespace="benchmark",
        num_cpus=16,  # logical CPUs; the actors share the real cores
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": root}},
    )
    try:
        yield
    finally:
        ray.shutdown()


def start(actor: type, name: str, *arguments: object) -> ActorHandle[Any]:
    """Start an actor with an engine on one CPU thread, and return its handle without waiting for the start."""
    import ray

    environment = engine_environment(Device.CPU, threads=1)
    options: dict[str, Any] = {"name": name, "max_concurrency": 10_000, "runtime_env": {"env_vars": environment}}
    handle: ActorHandle[Any] = ray.remote(actor).options(**options).remote(*arguments)
    return handle


@contextmanager
def pair(
    student: str, teacher: str, student_engine: EngineSettings, teacher_engine: EngineSettings
) -> Iterator[tuple[ActorHandle[Any], ActorHandle[Any]]]:
    """Start a worker and its teacher from two model folders, yield both, and end them after the block."""
    import ray

    access = TeacherAccess(actors=("teacher",))
    actors = [
        start(PlannedTeacher, "teacher", teacher, teacher_engine, Device.CPU, 0),
        start(PlannedWorker, "worker", student, student_engine, access, teacher, teacher_engine, Device.CPU, 0),
    ]
    try:
        ray.get([actor.ready.remote() for actor in actors], timeout=START_S)
        yield actors[1], actors[0]
    finally:
        for actor in actors:
            ray.kill(actor)
