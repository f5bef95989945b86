"""Evaluation on real Ray, with workers that write by a script: what is on disk, and what a failure may not leave there."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from transformers import AutoTokenizer

from actors.relay.tokenizer import TransformersTokenizer
from actors.reward import RewardActor
from actors.rollout import Policy, RolloutOrder
from actors.trajectory import Call, CallEnding, FinishReason, RejectedCommands, Source, Trajectory, TrajectoryBatch
from pipelines.data.prompts import PromptBuilder
from pipelines.data.sources import load_problem_sets
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.models.base_models import BaseModels
from pipelines.records.answers import AnswerTable
from pipelines.records.run_directory import RunDirectory
from pipelines.records.tracking import Tracker
from pipelines.report.run.reading import read_run
from pipelines.rollout.pool import RolloutError, RolloutPool
from pipelines.run import Run
from pipelines.stages.evaluate import EvaluationError, evaluate_base, evaluate_final
from pipelines.system.system import System

pytestmark = pytest.mark.ray

DEMO = Path(__file__).parents[3] / "experiments" / "demo.yaml"


class Worker:
    """Writes as many calls as the prompt's last digit says, of lengths that differ between answers; or fails."""

    def __init__(self, model: str) -> None:
        self._tokenizer = TransformersTokenizer(AutoTokenizer.from_pretrained(model))

    async def begin(self, fails: str | None, call_ending: CallEnding) -> None:
        """Forget all orders, and fail those of the policy `fails`."""
        self._fails, self._ending = fails, call_ending
        self._answers = 0
        self.orders: list[str] = []

    async def ready(self) -> int:
        return 0

    async def seen(self) -> list[str]:
        return self.orders

    async def rollout(self, order: RolloutOrder) -> TrajectoryBatch:
        self.orders.append(order.policy.value)
        if order.policy.value == self._fails:
            raise ValueError("the worker was told to fail")
        prompts = [prompt for prompt in order.prompts for _ in range(order.samples)]
        plans = order.plans if order.policy is Policy.RANDOM_PLACEMENT else [None] * len(prompts)
        return TrajectoryBatch.of(
            [self._answer(prompt.student_ids, order.policy, plan) for prompt, plan in zip(prompts, plans, strict=True)]
        )

    def _answer(self, prompt: Sequence[int], policy: Policy, plan: Any) -> Trajectory:
        self._answers += 1
        lengths: list[int] = []
        if plan is not None:
            lengths = [placement.requested for placement in plan]
        elif policy is Policy.RELAY:
            lengths = [1 + (self._answers + i) % 5 for i in range(sum(prompt) % 3)]
        ids: list[int] = []
        sources: list[Source] = []
        calls = []
        for length in lengths:
            command = [] if plan is not None else self._tokenizer.encode(f"<call>{length}</call>")
            ids += [*self._tokenizer.encode("47"), *command]
            written = 0 if self._ending is CallEnding.FAILED else length
            calls.append(Call(len(ids), length, written, 0.0, self._ending))
            ids += self._tokenizer.encode("8" * written)
            sources += [Source.STUDENT] * (2 + len(command)) + [Source.TEACHER] * written
        end = self._tokenizer.encode("\\boxed{74}")
        ids += end
        sources += [Source.TEACHER if policy is Policy.TEACHER else Source.STUDENT] * len(end)
        return Trajectory(
            prompt_ids=np.asarray(prompt, np.int32),
            token_ids=np.asarray(ids, np.int32),
            sources=np.asarray(sources, np.uint8),
            logprobs=np.zeros(len(ids), np.float32),
            versions=np.zeros(len(ids), np.int32),
            constrained=np.zeros(len(ids), np.bool_),
            calls=tuple(calls),
            rejected=RejectedCommands(),
            finish=FinishReason.STUDENT_END,
            text=self._tokenizer.decode(ids),
        )


@pytest.fixture(scope="module")
def reward(ray_cluster: None) -> Iterator[Any]:
    actor = ray.remote(RewardActor).options(num_cpus=0).remote()
    yield actor
    ray.kill(actor)


@pytest.fixture(scope="module")
def worker(ray_cluster: None, tiny_model: Path) -> Iterator[Any]:
    actor = ray.remote(Worker).options(num_cpus=0).remote(str(tiny_model))
    yield actor
    ray.kill(actor)


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path, worker: Any, reward: Any) -> Callable[..., Run]:
    """Give a function that begins the run in the test's folder: see `begun`."""
    return functools.partial(begun, tmp_path, str(tiny_model), worker, reward)


def begun(
    path: Path,
    model: str,
    worker: Any,
    reward: Any,
    *overrides: str,
    fails: str | None = None,
    call_ending: CallEnding = CallEnding.COMPLETED,
) -> Run:
    sets = [
        "{source: chain_arithmetic, counts: {known: 40, unknowable: 9}}",
        "{source: chain_arithmetic, counts: {known: 7}, kind_prefix: more/, samples: 3, sampling: {temperature: 1.0}}",
    ]
    settings = [
        "warmup.enabled=false",
        "grpo.enabled=false",
        f"data.evaluation=[{', '.join(sets)}]",
        "evaluation.traces=4",
        "tracking.mode=disabled",
        *overrides,
    ]
    experiment = load(DEMO, settings, Experiment)
    directory = RunDirectory(path)
    ray.get(worker.begin.remote(fails, call_ending))
    system = System(
        teachers=(),
        rollout=RolloutPool([worker], 96, 60.0),
        reward=reward,
        student=model,
    )
    return Run(
        experiment=experiment,
        directory=directory,
        tracker=Tracker(directory, experiment.tracking, {}),
        models=BaseModels(model, model, model),
        problems=load_problem_sets(experiment.data),
        prompts=PromptBuilder(model, model, ""),
        get_system=lambda *_: system,
    )


def answers(path: Path, stage: str) -> AnswerTable:
    return AnswerTable.read(path / "stages" / stage / "answers.parquet")


def test_each_policy_leaves_its_answers_and_the_rows_that_follow_from_them(
    tmp_path: Path, run: Callable[..., Run]
) -> None:
    made = run()
    evaluate_base(made)
    problems = [problem for found in made.problems.evaluation for problem in found.problems]
    for policy in ("student", "teacher"):
        table = answers(tmp_path, f"evaluate-base-{policy}")
        assert table.problem.tolist() == [*range(49), *(i for i in range(49, 56) for _ in range(3))]
        assert table.sample.tolist() == [0] * 49 + [0, 1, 2] * 7
        assert table.question.tolist() == [problems[i].question for i in table.problem]
        assert table.correct.tolist() == [problems[i].gold == "74" for i in table.problem]
        assert (table.teacher_answered == (policy == "teacher")).all()
        assert (table.own_tokens == (0 if policy == "teacher" else table.output_tokens)).all()
    rows = made.directory.read_jsonl("evaluations.jsonl")
    assert [(row["policy"], row["kind"], row["problems"], row["samples"]) for row in rows[:4]] == [
        ("student", "known", 40, 40),
        ("student", "more/known", 7, 21),
        ("student", "unknowable", 9, 9),
        ("student", "all", 56, 70),
    ]
    assert [row["call_ratio"] for row in rows] == [0.0] * 4 + [1.0] * 4
    done = json.loads((tmp_path / "stages/evaluate-base-student/done.json").read_text())
    assert done["problems"] == 56 and done["seconds"] > 0 and done["rows"] == rows[:4]
    traces = read_run(tmp_path).traces
    assert [(trace.name, trace.policy) for trace in traces] == [("base", "student")] * 4 + [("base", "teacher")] * 4
    written_by = {trace.policy: {segment.source for segment in trace.segments} for trace in traces}
    assert written_by == {"student": {"student"}, "teacher": {"teacher"}}


def test_calls_at_random_places_are_those_of_the_relay_answer_to_the_same_problem(
    tmp_path: Path, run: Callable[..., Run], worker: Any
) -> None:
    made = run("evaluation.final=[relay, random_placement]")
    evaluate_final(made)
    relay, placed = (answers(tmp_path, f"evaluate-final-{policy}") for policy in ("relay", "random_placement"))
    assert [sorted(row) for row in placed.call_requested] == [sorted(row) for row in relay.call_requested]
    assert len({len(row) for row in relay.call_requested}) == 3
    assert set(relay.own_tokens.tolist()) == {2 * calls + 4 for calls in range(3)}
    traces = made.directory.read_jsonl("traces.jsonl")
    assert [trace["policy"] for trace in traces] == ["relay"] * 4 + ["random_placement"] * 4
    before = ray.get(worker.seen.remote())
    evaluate_final(made)
    assert ray.get(worker.seen.remote()) == before
    assert len(made.directory.read_jsonl("evaluations.jsonl")) == 8


def test_a_policy_that_fails_leaves_nothing_and_the_others_are_not_repeated(
    tmp_path: Path, run: Callable[..., Run], worker: Any
) -> None:
    made = run(fails="teacher")
    with pytest.raises(RolloutError, match="told to fail"):
        evaluate_base(made)
    assert {row["policy"] for row in made.directory.read_jsonl("evaluations.jsonl")} == {"student"}
    assert not list(tmp_path.glob("stages/evaluate-base-teacher/*"))
    again = run()
    evaluate_base(again)
    assert set(ray.get(worker.seen.remote())) == {"teacher"}
    assert [row["policy"] for row in again.directory.read_jsonl("evaluations.jsonl")] == ["student"] * 4 + [
        "teacher"
    ] * 4


def test_an_evaluation_whose_calls_fail_is_not_final_and_is_answered_again_by_the_same_command(
    tmp_path: Path, run: Callable[..., Run], worker: Any
) -> None:
    settings = ("evaluation.final=[relay]",)
    ailing = run(*settings, call_ending=CallEnding.FAILED)
    with pytest.raises(EvaluationError, match=r"calls failed \(100\.0 %\).*max_failed_call_share.*teacher_timeout_s"):
        evaluate_final(ailing)
    assert ailing.directory.read_jsonl("evaluations.jsonl") == []
    assert not list(tmp_path.glob("stages/evaluate-final-relay/*"))
    mended = run(*settings)
    evaluate_final(mended)
    assert "relay" in ray.get(worker.seen.remote())
    assert {row["failed_call_share"] for row in mended.directory.read_jsonl("evaluations.jsonl")} == {0.0}


def test_failed_calls_are_counted_where_they_are_allowed(run: Callable[..., Run]) -> None:
    settings = ("evaluation.final=[relay]", "evaluation.max_failed_call_share=null")
    made = run(*settings, call_ending=CallEnding.FAILED)
    evaluate_final(made)
    assert {
        row["failed_call_share"] for row in made.directory.read_jsonl("evaluations.jsonl") if row["calls_per_sample"]
    } == {1.0}
    assert "failed_calls" in [event.alarm for event in made.tracker.open_alarms]
