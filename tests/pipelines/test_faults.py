"""Real runs whose actors are killed or stopped in the middle of GRPO: each ends with all of its steps, and says what happened."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipelines.marked_run import MarkedRun, marked_run, steps_of, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1200)]

# The student is warmed up for long enough to make calls, so that the teacher is needed in every step.
CALLING = """
extends: {demo}
name: faulty
models: {{cache_dir: {cache}}}
data:
  train: {{counts: {{known: 24, teacher_known: 48, unknowable: 4}}}}
  evaluation: [{{source: chain_arithmetic, counts: {{known: 4, teacher_known: 4}}}}]
filter: {{enabled: false}}
warmup: {{samples: 400, copies: 16}}
grpo: {{steps: 10, prompts_per_step: 6, group_size: 4, checkpoint_every: 2, evaluate_every: 1000}}
evaluation: {{base: [], warmup: [], final: []}}
cluster: {{hang_timeout_s: 10}}
tracking: {{mode: disabled}}
"""
STRIKE_AFTER = 3


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the runs share their warm-up."""
    return tmp_path_factory.mktemp("shared")


@dataclass(frozen=True)
class Ended:
    """What a run that ended well leaves."""

    printed: str
    steps: list[int]
    """of GRPO, as they were logged"""
    again: float
    """groups that were decoded again"""
    failed_call_share: float
    """the largest of any step"""
    weights: str
    """SHA-256 of the trained student"""


def ended(folder: Path, shared: Path, strike: Callable[[MarkedRun], None], *overrides: str) -> Ended:
    """Do a run, strike after some GRPO steps, and wait for its end."""
    with marked_run(folder, CALLING) as run:
        process = run.start(f"share_dir={shared / 'stages'}", f"models.cache_dir={shared / 'models'}", *overrides)
        wait_for(run, process, lambda: steps_of(run, "grpo") >= STRIKE_AFTER)
        strike(run)
        assert process.wait(timeout=900) == 0, run.output()[-6000:]
        run.wait_until_none_is_left()
        grpo = run.directory.path / "stages/grpo"
        rows = [row for row in run.directory.read_jsonl("metrics.jsonl") if row["stage"] == "grpo"]
        metrics = [row["metrics"] for row in rows]
        found = Ended(
            run.output(),
            [row["step"] for row in rows],  # type: ignore[misc]
            sum(row["rollout/groups_again"] for row in metrics),  # type: ignore[misc, index, call-overload]
            max(row["rollout/failed_call_share"] for row in metrics),  # type: ignore[misc, index, call-overload, type-var]
            hashlib.sha256((grpo / "model/model.safetensors").read_bytes()).hexdigest(),
        )
        shutil.rmtree(grpo.resolve())  # so that the next run shares the warm-up only
        return found


def kill(role: str, number: signal.Signals = signal.SIGKILL) -> Callable[[MarkedRun], None]:
    """Return what sends a signal to the only actor of a class."""

    def strike(run: MarkedRun) -> None:
        (actor,) = run.mark.actors(role)
        os.kill(actor, number)

    return strike


@pytest.mark.parametrize("depth", [0, 1])
def test_a_killed_rollout_worker_comes_back(tmp_path: Path, shared: Path, depth: int) -> None:
    run = ended(tmp_path, shared, kill("RolloutWorker"), f"grpo.async_depth={depth}")
    assert run.steps == list(range(1, 11))
    assert "rollout-0 died and is restarted, 1 of 3 times" in run.printed


def test_calls_wait_for_a_killed_teacher(tmp_path: Path, shared: Path) -> None:
    run = ended(tmp_path, shared, kill("TeacherActor"), "grpo.limits.teacher_timeout_s=300")
    assert run.steps == list(range(1, 11))
    assert "teacher died and is restarted, 1 of 3 times" in run.printed
    assert (run.failed_call_share, run.again) == (0.0, 0.0)


def test_groups_that_a_stopped_teacher_has_spoilt_are_decoded_again(tmp_path: Path, shared: Path) -> None:
    stop = kill("TeacherActor", signal.SIGSTOP)
    run = ended(tmp_path, shared, stop, "grpo.limits.teacher_timeout_s=3", "cluster.hang_timeout_s=20")
    assert run.steps == list(range(1, 11))
    assert "teacher does not answer, and is ended so that Ray restarts it" in run.printed
    assert "Such groups are decoded again and not learned from" in run.printed
    assert "the teacher answers again after" in run.printed
    assert run.again > 0 and run.failed_call_share <= 0.5


def test_a_killed_reward_actor_comes_back(tmp_path: Path, shared: Path) -> None:
    run = ended(tmp_path, shared, kill("RewardActor"))
    assert run.steps == list(range(1, 11))
    assert "reward died and is restarted, 1 of 3 times" in run.printed


def test_a_run_goes_back_when_an_alarm_asks_for_it_and_ends_with_the_diagnosis_when_that_does_not_help(
    tmp_path: Path, shared: Path
) -> None:
    with marked_run(tmp_path, CALLING) as run:
        folders = f"share_dir={shared / 'stages'}", f"models.cache_dir={shared / 'models'}"
        # No entropy is above 99 nats, so the alarm begins at the fifth step, whatever is learned.
        alarm = "alarms.entropy_collapse=99", "grpo.on_alarm.entropy_collapse=roll_back", "grpo.most_roll_backs=1"
        process = run.start(*folders, *alarm)
        assert process.wait(timeout=900) == 1, run.output()[-6000:]
        run.wait_until_none_is_left()
        steps = [row["step"] for row in run.directory.read_jsonl("metrics.jsonl") if row["stage"] == "grpo"]
        assert steps == [1, 2, 3, 4, 5] * 2
        assert "Training goes back from step 5 to the warm student" in run.output()
        assert "the run has gone back 1 time already" in run.output() and "Traceback" not in run.output()


def test_a_learner_that_cannot_start_ends_the_run_with_its_own_error(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (no_folder := tmp_path / "a-file").touch()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(no_folder))
    with marked_run(tmp_path, CALLING) as run:
        process = run.start(f"share_dir={shared / 'stages'}", f"models.cache_dir={shared / 'models'}")
        assert process.wait(timeout=600) == 1, run.output()[-6000:]
        run.wait_until_none_is_left()
        assert "NotADirectoryError" in run.output() and str(no_folder) in run.output()
        assert "is lost" not in run.output() and "started again" not in run.output()


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_after_the_death_of_a_learner_rank_the_run_ends_with_the_weights_of_an_undisturbed_one(
    tmp_path: Path, shared: Path, zero_stage: int
) -> None:
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "killed").mkdir()
    stage = f"learner.zero_stage={zero_stage}"
    undisturbed = ended(tmp_path / "undisturbed", shared, lambda run: None, stage)
    killed = ended(tmp_path / "killed", shared, kill("LearnerRank"), stage)
    assert (
        "All actors are started again in 2 s, and training goes on from its last checkpoint, 1 of 3 times"
        in killed.printed
    )
    assert set(killed.steps) == set(undisturbed.steps) == set(range(1, 11))
    assert len(killed.steps) <= 12  # at most two steps were done again
    assert killed.weights == undisturbed.weights
