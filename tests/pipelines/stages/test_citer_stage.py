"""The CITER stage on real Ray: a router is trained once, and routes through the actor and the grading."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from transformers import AutoTokenizer

from actors.citer.actor import CiterActor, CiterOrder
from actors.engines.base import Generation, GenerationRequest, OnTokens, StopReason
from actors.engines.teachers import TeacherAccess
from actors.relay.solo import solo
from actors.relay.tokenizer import TransformersTokenizer
from actors.reward import RewardActor
from actors.rollout import Policy, RolloutOrder
from actors.settings import EngineSettings, RelayLimits, SamplingSettings
from actors.tiny_models import ASSISTANT
from actors.trajectory import TrajectoryBatch
from cluster.devices import Device
from pipelines.data.problem import Problem
from pipelines.data.prompts import PromptBuilder
from pipelines.data.sources import load_problem_sets
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_names import CITER, citer_policy
from pipelines.models.base_models import BaseModels
from pipelines.records.metrics import METRICS
from pipelines.records.run_directory import RunDirectory
from pipelines.records.tracking import Tracker
from pipelines.report.run.reading import read_run
from pipelines.report.run.summary import headline_table
from pipelines.rollout.pool import RolloutPool
from pipelines.run import Run
from pipelines.stages.citer import CiterError, decode_routed, train_router
from pipelines.stages.evaluate import train_and_evaluate_citer
from pipelines.system.system import System

pytestmark = pytest.mark.ray

DEMO = Path(__file__).parents[3] / "experiments" / "demo.yaml"
ENGINE = EngineSettings(dtype="float32", max_model_len=64)
GREEDY = SamplingSettings(temperature=0.0)
PROBLEMS = [Problem(question=f"{n:02d}", gold=f"{n:02d}", kind="echo") for n in range(12)]


class Teacher:
    """Repeats the question in a box. Asked for a first token alone it writes another, so that a rollout has to decide."""

    def __init__(self, model: str) -> None:
        tokenizer = AutoTokenizer.from_pretrained(model)
        self.tokenizer = TransformersTokenizer(tokenizer)
        self._begins = tokenizer.convert_tokens_to_ids(ASSISTANT)

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        ids = list(request.prompt_ids)
        begin = ids.index(self._begins) + 1
        question = self.tokenizer.decode(ids[:begin])
        solution = [*self.tokenizer.encode(f"={question};\\boxed{{{question}}}"), self.tokenizer.eos_token_id]
        written = solution[len(ids) - begin :][: request.max_tokens] or solution[-1:]
        if request.max_tokens == 1 and len(ids) == begin:
            written = self.tokenizer.encode("+")
        return Generation(
            token_ids=np.array(written, np.int32),
            logprobs=np.zeros(len(written), np.float32),
            versions=np.zeros(len(written), np.int32),
            stop=StopReason.END_OF_TEXT if written[-1] == self.tokenizer.eos_token_id else StopReason.LENGTH,
            prompt_tokens=len(request.prompt_ids),
            cached_tokens=0,
        )


class Worker(Teacher):
    """Has the teacher answer: the first answers of an order are right, as many as it was told, and the others wrong."""

    async def begin(self, right: int) -> None:
        self._right = right

    async def ready(self) -> int:
        return 0

    async def rollout(self, order: RolloutOrder) -> TrajectoryBatch:
        assert order.policy is Policy.TEACHER
        rows = []
        for place, prompt in enumerate(order.prompts):
            end = prompt.teacher_ids if place < self._right else prompt.teacher_ids * 2
            generation = await self.generate(GenerationRequest(end, 40, order.sampling))
            rows.append(solo(prompt.teacher_ids, generation, self.tokenizer))
        return TrajectoryBatch.of(rows)


class Pair(Teacher):
    """A routed pair that answers no order before a second one is there."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._orders, self._second = 0, asyncio.Event()

    async def rollout(self, order: CiterOrder) -> TrajectoryBatch:
        self._orders += 1
        if self._orders == 2:
            self._second.set()
        await asyncio.wait_for(self._second.wait(), 60)
        answers = [
            await self.generate(GenerationRequest(prompt.teacher_ids, 20, order.sampling)) for prompt in order.prompts
        ]
        return TrajectoryBatch.of(
            [
                solo(prompt.teacher_ids, answer, self.tokenizer)
                for prompt, answer in zip(order.prompts, answers, strict=True)
            ]
        )


@pytest.fixture(scope="module")
def actors(ray_cluster: None, tiny_model: Path) -> Iterator[dict[str, Any]]:
    teacher = ray.remote(Teacher).options(name="citer-test-teacher", num_cpus=0).remote(str(tiny_model))
    citer = (
        ray.remote(CiterActor)
        .options(num_cpus=0)
        .remote(
            str(tiny_model),
            ENGINE,
            TeacherAccess(actors=("citer-test-teacher",)),
            str(tiny_model),
            ENGINE,
            Device.CPU,
            4,
        )
    )
    reward = ray.remote(RewardActor).options(num_cpus=0).remote()
    worker = ray.remote(Worker).options(num_cpus=0).remote(str(tiny_model))
    ray.get(citer.ready.remote(), timeout=120)
    yield {"teacher": teacher, "citer": citer, "reward": reward, "worker": worker}
    for actor in (teacher, citer, reward, worker):
        ray.kill(actor)


def run(tmp_path: Path, tiny_model: Path, actors: dict[str, Any], *, right: int = 12, citer: bool = True) -> Run:
    overrides = [
        "citer.enabled=true",
        "citer.router.max_epochs=3",
        "citer.thresholds=[0, 1]",
        "data.evaluation.0.counts={known: 4, teacher_known: 0, unknowable: 0}",
        "evaluation.limits.max_new_tokens=20",
        "grpo.limits.max_new_tokens=20",
        "tracking.mode=disabled",
    ]
    experiment = load(DEMO, overrides, Experiment)
    directory = RunDirectory(tmp_path)
    ray.get(actors["worker"].begin.remote(right))
    return Run(
        experiment=experiment,
        directory=directory,
        tracker=Tracker(directory, experiment.tracking, {}),
        models=BaseModels(str(tiny_model), str(tiny_model), str(tiny_model)),
        problems=load_problem_sets(experiment.data),
        prompts=PromptBuilder(tiny_model, tiny_model, ""),
        get_system=lambda *_: System(
            teachers=[actors["teacher"]],
            rollout=RolloutPool([actors["worker"]], 64, 60.0),
            reward=actors["reward"],
            student=str(tiny_model),
            citer=actors["citer"] if citer else None,
        ),
    )


def test_a_router_is_trained_in_rounds_and_only_once(tmp_path: Path, tiny_model: Path, actors: dict[str, Any]) -> None:
    stage = run(tmp_path, tiny_model, actors)
    router = train_router(stage, PROBLEMS)
    rows = stage.directory.read_jsonl("metrics.jsonl")
    assert [(row["stage"], row["step"]) for row in rows] == [(CITER, 1), (CITER, 2)]
    metrics: Any = rows[0]["metrics"]
    assert metrics.keys() <= METRICS.keys()
    assert metrics["citer/references"] == metrics["citer/rollouts"] == 12
    tokens = len(stage.prompts.student_tokenizer.encode("=00;\\boxed{00}<|end|>", add_special_tokens=False))
    assert metrics["citer/labelled_tokens"] == 12 * tokens
    assert router == tmp_path / "stages" / "citer" / "router-2"
    written = {path: path.stat().st_mtime_ns for path in router.iterdir()}
    assert train_router(stage, PROBLEMS) == router
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_all_problems_come_back_graded(tmp_path: Path, tiny_model: Path, actors: dict[str, Any]) -> None:
    stage = run(tmp_path, tiny_model, actors)
    router = train_router(stage, PROBLEMS)
    many = [*PROBLEMS, *PROBLEMS, *PROBLEMS]
    begun = tuple(stage.prompts.student_tokenizer.encode("=", add_special_tokens=False))
    limits = RelayLimits(max_new_tokens=20)
    for threshold, correct in ((0.0, 0.0), (1.0, 1.0)):
        orders = list(
            decode_routed(
                stage, many, router, threshold, draws="test", limits=limits, sampling=GREEDY, begun=[begun] * len(many)
            )
        )
        orders.sort(key=lambda order: order.first)
        assert [problem for order in orders for problem in order.problems] == many
        for graded in (order.graded for order in orders):
            assert (graded.correct == correct).all()
            by_student = 1 if threshold else graded.output_tokens
            assert (graded.output_tokens - graded.teacher_tokens == by_student).all()


def test_two_orders_are_decoded_at_the_same_time(tmp_path: Path, tiny_model: Path, actors: dict[str, Any]) -> None:
    pair = ray.remote(Pair).options(num_cpus=0).remote(str(tiny_model))
    try:
        stage = run(tmp_path, tiny_model, actors | {"citer": pair})
        limits = RelayLimits(max_new_tokens=20)
        orders = decode_routed(stage, PROBLEMS * 5, None, 1.0, draws="test", limits=limits, sampling=GREEDY)
        assert sorted(len(order.problems) for order in orders) == [28, 32]
    finally:
        ray.kill(pair)


def test_every_threshold_is_evaluated_once_as_a_policy(
    tmp_path: Path, tiny_model: Path, actors: dict[str, Any]
) -> None:
    stage = run(tmp_path, tiny_model, actors)
    train_and_evaluate_citer(stage, PROBLEMS)
    train_and_evaluate_citer(stage, PROBLEMS)
    rows = [row for row in stage.directory.read_jsonl("evaluations.jsonl") if row["kind"] == "all"]
    assert [(row["name"], row["policy"], row["problems"]) for row in rows] == [
        ("citer", "citer@0", 4),
        ("citer", "citer@1", 4),
    ]
    assert [row["call_ratio"] for row in rows] == [0.0, 1.0]
    traced = [row["policy"] for row in stage.directory.read_jsonl("traces.jsonl")]
    assert traced == ["citer@0"] * 4 + ["citer@1"] * 4
    table = headline_table(read_run(tmp_path))
    assert [(row.policy, row.phase) for row in table.rows if row.policy.startswith("CITER")] == [
        ("CITER, threshold 0", "before training"),
        ("CITER, threshold 1", "before training"),
    ]


def test_too_few_right_solutions_are_an_error(tmp_path: Path, tiny_model: Path, actors: dict[str, Any]) -> None:
    with pytest.raises(CiterError, match="the teacher solved 1 of 12 problems"):
        train_router(run(tmp_path, tiny_model, actors, right=1), PROBLEMS)


def test_a_run_without_the_actor_says_how_to_get_one(tmp_path: Path, tiny_model: Path, actors: dict[str, Any]) -> None:
    with pytest.raises(CiterError, match=r"citer\.enabled"):
        train_router(run(tmp_path, tiny_model, actors, citer=False), PROBLEMS)


def test_a_threshold_names_its_policy() -> None:
    assert [citer_policy(threshold) for threshold in (0.95, 0.5, 1.0)] == ["citer@0.95", "citer@0.5", "citer@1"]
