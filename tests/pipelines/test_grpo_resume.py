"""A killed GRPO goes on from its checkpoint, and what is on disk is of the weights that it went on with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.config import load
from pipelines.experiment import Experiment
from pipelines.problems import Problem
from pipelines.run_directory import RunDirectory
from pipelines.stages import grpo as stage
from pipelines.stages.grpo import grpo
from pipelines.tracking import Tracker, read_metrics

DEMO = Path(__file__).parents[2] / "experiments" / "demo.yaml"
SETTINGS = [
    "grpo.steps=7",
    "grpo.checkpoint_every=3",
    "grpo.evaluate_every=2",
    "evaluation.training=[student]",
    "warmup.enabled=false",
    "tracking.mode=disabled",
]
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

    def load(self, *_: object, **__: object) -> None:
        self.step = self.weights = 0

    def update(self) -> None:
        self.strike("update", self.step + 1)
        self.step, self.weights = self.step + 1, next(self.updates)

    def save_state(self, path: str) -> None:
        self.strike("save", self.step)
        Path(path).write_text(f"{self.step} {self.weights}")

    def load_state(self, path: str) -> None:
        self.step, self.weights = map(int, Path(path).read_text().split())


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Return a function that trains what is left, up to a kill if it is told where and at which step."""
    updates = itertools.count(1)

    def train(where: str = "", killed_step: int = 0) -> RunDirectory:
        def strike(place: str, step: int) -> None:
            if (place, step) == (where, killed_step):
                raise Killed

        def evaluate(run: Any, step: int) -> None:
            name = f"evaluate-grpo-{step:04d}-student"
            if not run.directory.stage_done(name):
                run.directory.mark_done(name, {"rows": [], "weights": learner.weights})

        def log_step(directory: RunDirectory, tracker: Tracker, name: str, step: int, metrics: Any) -> None:
            strike("log", step)
            log(directory, tracker, name, step, metrics)

        experiment = load(DEMO, SETTINGS, Experiment)
        directory, learner = RunDirectory(tmp_path), Learner(updates, strike)
        with monkeypatch.context() as patched:
            log = stage.log_step
            for name, replacement in {
                "_roll_out": lambda *_: [],
                "_learn": lambda *_: learner.update(),
                "_metrics": lambda *found: {
                    "rollout/accuracy": learner.weights,
                    "rollout/call_ratio": 0.0,
                    **found[-1].metrics(),
                },
                "evaluate_within_grpo": evaluate,
                "export_student": lambda *_: None,
                "log_step": log_step,
            }.items():
                patched.setattr(stage, name, replacement)
            run: Any = SimpleNamespace(
                experiment=experiment,
                directory=directory,
                tracker=Tracker(directory, experiment.tracking, {}),
                system=SimpleNamespace(learner=learner, sync_weights=lambda: None),
                warm_student="",
            )
            grpo(run, [Problem("1+1", "2", "known")])
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
    directory = train()
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


def test_the_time_of_a_checkpoint_is_in_the_row_of_the_next_step(train: Train) -> None:
    steps = read_metrics(train(), "grpo")
    assert [step for step, metrics in steps.items() if "time/checkpoint_s" in metrics] == [4, 7]
    assert all(metrics["time/step_s"] >= metrics.get("time/checkpoint_s", 0) for metrics in steps.values())  # type: ignore[operator]
