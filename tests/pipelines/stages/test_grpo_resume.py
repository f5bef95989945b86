"""A killed GRPO goes on from its checkpoint, and what is on disk is of the weights that it went on with."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.data.problem import Problem
from pipelines.experiment.alarm_actions import AlarmActions
from pipelines.experiment.alarms import ALARMS
from pipelines.experiment.loading import load as load_experiment
from pipelines.experiment.schema import Experiment
from pipelines.records.run_directory import RunDirectory, RunDirectoryError
from pipelines.records.tracking import Tracker, read_metrics
from pipelines.rollout.group_supply import StepGroups
from pipelines.stages import checkpoints
from pipelines.stages import grpo as stage
from pipelines.stages.alarm_policy import AlarmStopError, roll_backs
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
    absent: tuple[str, ...] = ()


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
    """Return a function that trains what is left, up to a kill if it is told where and at which step.

    At `bad` steps, each counted once, an alarm begins.
    """
    updates = itertools.count(1)

    def train(where: str = "", killed_step: int = 0, *more: str, bad: Sequence[int] = ()) -> RunDirectory:
        settings, still_bad = [*MODES[request.param], *more], list(bad)

        def alarming() -> float:
            if learner.step not in still_bad:
                return 0.0
            still_bad.remove(learner.step)
            return 1.0

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
            if request.param == "in turns" or learner.step == first_step:
                assert set(begun) == {rollout.version}
            return Learning(learner, [group.first for group in step.groups])

        def load(run: Any, steps: int) -> Any:
            nonlocal first_step
            first_step, cursor = load_checkpoint(run, steps)
            return first_step, cursor

        def log_step(directory: RunDirectory, tracker: Tracker, name: str, step: int, metrics: Any) -> Any:
            strike("log", step)
            return log(directory, tracker, name, step, metrics)

        experiment = load_experiment(DEMO, [*SETTINGS, *settings], Experiment)
        directory, learner, rollout = RunDirectory(tmp_path), Learner(updates, strike), Rollout()
        first_step = 0
        slowest_first = Random(killed_step)
        with monkeypatch.context() as patched:
            log, load_checkpoint = stage.log_step, stage.load_learner
            for name, replacement in {
                "load_learner": load,
                "_stream": lambda _: scripted_stream(
                    lambda unfinished: slowest_first.choice(list(unfinished)), lambda: rollout.version
                ),
                "_start_learning": start_learning,
                "_metrics": lambda *found: {
                    "rollout/accuracy": learner.weights,
                    "rollout/call_ratio": 0.0,
                    "learner/non_finite_steps": alarming(),
                    **found[-1].metrics(),
                },
                "memory_metrics": lambda experiment, absent: {},
                "evaluate_within_grpo": evaluate,
                "export_student": lambda *_: None,
                "log_step": log_step,
            }.items():
                patched.setattr(stage, name, replacement)
            patched.setattr(checkpoints, "export_student", lambda *_: None)
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
        assert len(set(learner.learned)) == learner.step * PER_STEP
        if not roll_backs(directory):
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
@pytest.mark.parametrize("damaged", ["learner", "problems.json", "checksums.json"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(
    train: Train, tmp_path: Path, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Killed):
        train("update", 7)
    kept = tmp_path / "stages/grpo/checkpoints"
    file = kept / "000006" / damaged
    os.truncate(file, file.stat().st_size - 1)
    steps = read_metrics(train(), "grpo")
    assert list(steps) == list(range(1, 8))
    said = next(record.getMessage() for record in caplog.records if "is damaged" in record.getMessage())
    assert said.startswith(f"checkpoint 000006 is damaged and not used: {file} ")
    (aside,) = kept.glob("000006.damaged-*")
    assert str(aside) in said
    assert (kept / "000006").is_dir()  # written again


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


def learned_by(directory: RunDirectory, step: int) -> list[int]:
    """Return the places of the problems that a checkpoint has come from."""
    _, _, places = json.loads((directory.checkpoints("grpo") / f"{step:06d}" / "learner").read_text())
    return list(places)


BACK = "grpo.on_alarm.non_finite_steps=roll_back"


def test_an_alarm_takes_training_back_to_the_checkpoint_before_it_and_on_with_other_problems(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    directory = train("", 0, BACK, bad=[5])
    assert list(read_metrics(directory, "grpo")) == list(range(1, 8))
    (row,) = roll_backs(directory)
    assert (row.alarm, row.step, row.to) == ("non_finite_steps", 5, 3)
    kept, after = learned_by(directory, 3), set(learned_by(directory, 6)) - set(learned_by(directory, 3))
    assert min(after) >= min([row.cursor.next, *row.cursor.carried]) and len(kept) == len(after) == 9
    assert "goes back from step 5 to the checkpoint of step 3" in caplog.text and "1 of 3 times" in caplog.text
    events = [(event["event"], event["step"]) for event in directory.read_jsonl("alarms.jsonl")]
    assert events == [("began", 5), ("ended", 5)]


def test_before_the_first_checkpoint_training_goes_back_to_the_warm_student(train: Train) -> None:
    directory = train("", 0, BACK, bad=[2])
    assert [row.to for row in roll_backs(directory)] == [0]
    assert list(read_metrics(directory, "grpo")) == list(range(1, 8))


def test_a_run_that_has_gone_back_too_often_ends_with_the_diagnosis(train: Train) -> None:
    with pytest.raises(AlarmStopError, match=r"(?s)step 5\): 1 .*gone back 2 times already.*Lower grpo\.optimizer\.lr"):
        train("", 0, BACK, "grpo.most_roll_backs=2", bad=[5, 5, 5])


@pytest.mark.parametrize("train", ["in turns"], indirect=True)
def test_a_run_without_a_checkpoint_from_before_the_alarm_ends_and_says_so(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = replace(
        ALARMS["non_finite_steps"], steps=3
    )  # its condition held at steps 5 to 7, and 6 is the oldest checkpoint
    monkeypatch.setitem(ALARMS, "non_finite_steps", slow)
    with pytest.raises(Killed):
        train("update", 7, BACK, bad=[5, 6])
    shutil.rmtree(tmp_path / "stages/grpo/checkpoints/000003")
    with pytest.raises(AlarmStopError, match=r"no checkpoint of step 4 or earlier is left to go back to"):
        train("", 0, BACK, bad=[7])


@pytest.mark.parametrize("train", ["in turns"], indirect=True)
@pytest.mark.parametrize(("killed_in", "bad_again"), [("prune", []), ("rolled_back", []), ("roll_back", [7])])
def test_a_run_that_is_killed_while_it_goes_back_does_so_when_it_is_resumed(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: str, bad_again: list[int]
) -> None:
    monkeypatch.setitem(ALARMS, "non_finite_steps", replace(ALARMS["non_finite_steps"], steps=3))
    of: Any = {"prune": checkpoints, "rolled_back": Tracker, "roll_back": stage}[killed_in]
    goes_on = getattr(of, killed_in)

    def killed(*arguments: Any, **options: Any) -> object:
        if killed_in == "roll_back" or roll_backs(RunDirectory(tmp_path)):
            raise Killed
        return goes_on(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(of, killed_in, killed)
        with pytest.raises(Killed):
            train("", 0, BACK, bad=[5, 6, 7])
    directory = train("", 0, BACK, bad=bad_again)
    (row,) = roll_backs(directory)
    assert (row.step, row.to, row.cursor.next) == (7, 3, 21)
    assert set(learned_by(directory, 6)) == {*range(9), *range(21, 30)}
    assert list(read_metrics(directory, "grpo")) == list(range(1, 8))


@pytest.mark.parametrize("train", ["in turns"], indirect=True)
def test_problems_of_an_earlier_time_back_are_not_taken_again(train: Train) -> None:
    with pytest.raises(AlarmStopError, match="gone back 1 time already"):
        train("", 0, BACK, "grpo.most_roll_backs=1", bad=[5, 5])
    directory = train("", 0, BACK, "grpo.most_roll_backs=2", bad=[5])
    assert [row.cursor.next for row in roll_backs(directory)] == [15, 21]
    assert set(learned_by(directory, 6)) == {*range(9), *range(21, 30)}


@pytest.mark.parametrize("train", ["in turns"], indirect=True)
def test_a_run_that_is_resumed_at_the_step_it_went_back_to_takes_the_other_problems_too(train: Train) -> None:
    with pytest.raises(Killed):
        train("update", 7, BACK, bad=[6])
    directory = train("", 0, BACK)
    (row,) = roll_backs(directory)
    assert (row.to, row.cursor.next) == (3, 18)
    assert set(learned_by(directory, 6)) == {*range(9), *range(18, 27)}


@pytest.mark.parametrize("train", ["in turns"], indirect=True)
def test_an_alarm_can_end_the_run_and_the_same_command_then_goes_on(train: Train) -> None:
    with pytest.raises(AlarmStopError, match=r"(?s)alarm non_finite_steps.*on_alarm\.non_finite_steps is stop"):
        train("", 0, "grpo.on_alarm.non_finite_steps=stop", bad=[5])
    assert list(read_metrics(train("", 0, "grpo.on_alarm.non_finite_steps=stop"), "grpo")) == list(range(1, 8))


def test_each_alarm_on_steps_of_grpo_has_an_action() -> None:
    on_steps = {name for name, alarm in ALARMS.items() if alarm.metric and not alarm.metric.startswith("filter/")}
    assert AlarmActions.model_fields.keys() == on_steps
