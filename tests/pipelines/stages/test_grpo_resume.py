"""A killed GRPO goes on from its checkpoint, and what is on disk is of the weights that it went on with."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.data.problem import Problem
from pipelines.experiment.loading import load as load_experiment
from pipelines.experiment.schema import Experiment
from pipelines.records.run_directory import RunDirectory, RunDirectoryError
from pipelines.records.tracking import Tracker, read_metrics
from pipelines.rollout.group_supply import StepGroups
from pipelines.stages import grpo as stage
from pipelines.stages.grpo import grpo

DEMO = Path(__file__).parents[3] / "experiments" / "demo.yaml"
SETTINGS = [
    "grpo.steps=7",
    "grpo.prompts_per_step=3",
    "grpo.checkpoint_every=3",
    "grpo.evaluate_every=2",
    "evaluation.training=[student]",
    "warmup.enabled=false",
    "tracking.mode=disabled",
]
MODES = {
    "in turns": [],
    "late groups": ["grpo.extra_prompts=2"],
    "overlapped": ["grpo.async_depth=1"],
    "overlapped, late groups": ["grpo.async_depth=1", "grpo.extra_prompts=2"],
}
PER_STEP = 3
PROBLEMS = [Problem(f"{i}+1", str(i + 1), "known") for i in range(5)]
Strike = Callable[[str, int], None]
Train = Callable[..., RunDirectory]


class Killed(Exception):
    """Stands for a kill of the driver."""


@dataclass
class Learner:
    """Its weights are a number that no other update gives, in this training or another one."""

    updates: Iterator[int]
    strike: Strike
    step: int = 0
    weights: int = 0
    learned: list[int] = field(default_factory=list)
    """places of the problems that the weights have come from"""

    def load(self, *_: object, **__: object) -> None:
        self.step, self.weights, self.learned = 0, 0, []

    def update(self, places: Sequence[int]) -> None:
        self.strike("update", self.step + 1)
        self.step, self.weights = self.step + 1, next(self.updates)
        self.learned += places

    def save_state(self, path: str) -> None:
        self.strike("save", self.step)
        Path(path).write_text(json.dumps([self.step, self.weights, self.learned]))

    def load_state(self, path: str) -> None:
        self.step, self.weights, self.learned = json.loads(Path(path).read_text())


@dataclass
class Rollout:
    """What the rollout workers hold."""

    version: int = 0
    weights: int = 0


@dataclass
class Learning:
    """An update that is done when its result is asked for."""

    learner: Learner
    places: Sequence[int]

    def result(self) -> Any:
        self.learner.update(self.places)
        return SimpleNamespace(seconds=0.0)


@pytest.fixture(params=MODES)
def train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripted_stream: Any, request: pytest.FixtureRequest
) -> Train:
    """Return a function that trains what is left, up to a kill if it is told where and at which step."""
    updates = itertools.count(1)
    settings = MODES[request.param]

    def train(where: str = "", killed_step: int = 0) -> RunDirectory:
        def strike(place: str, step: int) -> None:
            if (place, step) == (where, killed_step):
                raise Killed

        def sync_weights() -> None:
            rollout.version, rollout.weights = rollout.version + 1, learner.weights

        def evaluate(run: Any, step: int) -> None:
            name = f"evaluate-grpo-{step:04d}-student"
            if not run.directory.stage_done(name):
                run.directory.mark_done(name, {"rows": [], "weights": rollout.weights})

        def start_learning(run: Any, step: StepGroups) -> Learning:
            assert rollout.weights == learner.weights  # so the version that the learner is told is that of its weights
            begun = [group.version for group in step.groups]
            assert rollout.version - min(begun) <= run.experiment.grpo.max_staleness
            if not settings or learner.step == first_step:
                assert set(begun) == {rollout.version}
            return Learning(learner, [group.first for group in step.groups])

        def load(run: Any, steps: int) -> Any:
            nonlocal first_step
            first_step, cursor = load_checkpoint(run, steps)
            return first_step, cursor

        def log_step(directory: RunDirectory, tracker: Tracker, name: str, step: int, metrics: Any) -> None:
            strike("log", step)
            log(directory, tracker, name, step, metrics)

        experiment = load_experiment(DEMO, [*SETTINGS, *settings], Experiment)
        directory, learner, rollout = RunDirectory(tmp_path), Learner(updates, strike), Rollout()
        first_step = 0
        slowest_first = Random(killed_step)
        with monkeypatch.context() as patched:
            log, load_checkpoint = stage.log_step, stage._load
            for name, replacement in {
                "_load": load,
                "_stream": lambda _: scripted_stream(
                    lambda unfinished: slowest_first.choice(list(unfinished)), lambda: rollout.version
                ),
                "_start_learning": start_learning,
                "_metrics": lambda *found: {
                    "rollout/accuracy": learner.weights,
                    "rollout/call_ratio": 0.0,
                    **found[-1].metrics(),
                },
                "memory_metrics": lambda experiment: {},
                "evaluate_within_grpo": evaluate,
                "export_student": lambda *_: None,
                "log_step": log_step,
            }.items():
                patched.setattr(stage, name, replacement)
            run: Any = SimpleNamespace(
                experiment=experiment,
                directory=directory,
                tracker=Tracker(directory, experiment.tracking, {}),
                actors=lambda: SimpleNamespace(
                    learner=learner,
                    rollout=rollout,
                    sync_weights=sync_weights,
                    learning=lambda *_: contextlib.nullcontext(),
                ),
                warm_student="",
            )
            grpo(run, PROBLEMS)
        assert sorted(learner.learned) == list(range(learner.step * PER_STEP))
        return directory

    return train


@pytest.mark.parametrize(
    ("where", "step"),
    [*itertools.product(["update", "log"], range(1, 8)), ("save", 3), ("save", 6)],
)
def test_every_step_is_logged_and_evaluations_are_of_the_weights_of_their_step(
    train: Train, where: str, step: int
) -> None:
    with pytest.raises(Killed):
        train(where, step)
    directory = train()  # which sees to it that each problem was learned from once
    steps = read_metrics(directory, "grpo")
    assert list(steps) == list(range(1, 8))
    evaluated = {step: directory.summary(f"evaluate-grpo-{step:04d}-student")["weights"] for step in (2, 4, 6)}
    assert evaluated == {step: steps[step]["rollout/accuracy"] for step in (2, 4, 6)}


def test_evaluations_before_the_checkpoint_are_kept(train: Train) -> None:
    with pytest.raises(Killed):
        train("update", 6)
    directory = train()
    weights = [directory.summary(f"evaluate-grpo-{step:04d}-student")["weights"] for step in (2, 4, 6)]
    assert weights == [2, 6, 8]  # the fourth and fifth update were lost


@pytest.mark.parametrize("train", ["in turns"], indirect=True)
def test_a_checkpoint_without_a_cursor_goes_on_with_the_problems_after_its_step(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train("update", 5)
    for name in ("problems.json", "checksums.json"):  # which earlier versions did not write
        (tmp_path / "stages/grpo/checkpoints/000003" / name).unlink()
    train()


@pytest.mark.parametrize("train", ["in turns"], indirect=True)
@pytest.mark.parametrize("damaged", ["learner", "problems.json", "checksums.json"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(
    train: Train, tmp_path: Path, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Killed):
        train("update", 7)
    checkpoints = tmp_path / "stages/grpo/checkpoints"
    file = checkpoints / "000006" / damaged
    os.truncate(file, file.stat().st_size - 1)
    steps = read_metrics(train(), "grpo")
    assert list(steps) == list(range(1, 8))
    said = next(record.getMessage() for record in caplog.records if "is damaged" in record.getMessage())
    assert said.startswith(f"checkpoint 000006 is damaged and not used: {file} ")
    (aside,) = checkpoints.glob("000006.damaged-*")
    assert str(aside) in said
    assert (checkpoints / "000006").is_dir()  # written again


@pytest.mark.parametrize("train", ["in turns"], indirect=True)
def test_if_no_checkpoint_is_whole_the_run_says_so_and_the_next_command_begins_grpo_anew(
    train: Train, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        train("update", 5)
    os.truncate(tmp_path / "stages/grpo/checkpoints/000003/learner", 0)
    with pytest.raises(RunDirectoryError, match=r"no checkpoint is whole\. The same command now begins GRPO anew"):
        train()
    assert list(read_metrics(train(), "grpo")) == list(range(1, 8))


def test_the_time_of_a_checkpoint_is_in_the_row_of_the_next_step(train: Train) -> None:
    steps = read_metrics(train(), "grpo")
    assert [step for step, metrics in steps.items() if "time/checkpoint_s" in metrics] == [4, 7]
    assert all(metrics["time/step_s"] >= metrics.get("time/checkpoint_s", 0) for metrics in steps.values())  # type: ignore[operator]
