"""The runner: what becomes of each trial, several at a time, and after a stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from pipelines.analysis.sweep_results import State
from pipelines.sweep.outcome import SweepError, write_outcome
from pipelines.sweep.results import read_results
from pipelines.sweep.runner import run_trials
from pipelines.sweep.search import distribution, sampler
from tests.pipelines.sweep.scripts import Scripted, final, within

REPOSITORY = Path(__file__).parents[3]


def run(scripted: Scripted, at_a_time: int = 1) -> dict[int, State]:
    """Run what is left, and return the state of each trial by its seed."""
    run_trials(scripted.sweep, at_a_time, scripted.command)
    return states(scripted)


def states(scripted: Scripted) -> dict[int, State]:
    return {int(trial.values["seed"]): trial.state for trial in read_results(scripted.sweep).trials}


def test_every_trial_is_a_run_of_its_own_and_the_best_is_found(scripted, capsys) -> None:
    sweep = scripted()
    sweep.tell(_1=[final(0.5)], _2=[final(0.9, 0.1)], _3=[final(0.6, 0.04)])
    assert run(sweep, at_a_time=2) == dict.fromkeys((1, 2, 3), State.FINISHED)
    starts = sweep.starts()
    assert len({start["run_dir"] for start in starts}) == len({start["name"] for start in starts}) == 3
    assert {start["share_dir"] for start in starts} == {str(sweep.sweep.directory / "shared")}
    assert {start["evaluation.call_ratio_budget"] for start in starts} == {"0.05"}
    best = read_results(sweep.sweep).best
    assert best is not None and best.values == {"seed": 3}  # 0.9 at twice the budget counts as 0.45
    assert "3 trials, 2 at a time" in capsys.readouterr().out


def test_a_finished_sweep_starts_nothing_again(scripted) -> None:
    sweep = scripted()
    sweep.tell(_1=[final(0.5)], _2=[final(0.6)], _3=[final(0.7)])
    run(sweep)
    sweep.starts()
    run(sweep)
    assert sweep.starts() == []


def test_a_trial_behind_the_others_is_ended(scripted, capsys) -> None:
    sweep = scripted(early_terminate={"type": "hyperband", "min_iter": 1, "eta": 3})
    good, bad = [within(10, 0.9), final(0.9)], [within(10, 0.1), ["wait"]]
    # The first trial has nothing to be behind of, so it has to be the good one.
    first = first_seed(sweep)
    sweep.tell(**{f"_{seed}": good if seed == first else bad for seed in (1, 2, 3)})
    found = run(sweep)
    assert sorted(found.values()) == sorted([State.FINISHED, State.PRUNED, State.PRUNED])
    assert "ended early" in capsys.readouterr().out
    (trial, _) = read_results(sweep.sweep).of(State.PRUNED)
    assert trial.objective is not None and trial.objective.value == 0.1 and "after iteration 1" in trial.reason


def first_seed(sweep: Scripted) -> int:
    """Return the seed of the grid's first trial, as the sampler draws it."""
    study = optuna.create_study(sampler=sampler(sweep.sweep, 0))
    return study.ask({key: distribution(found) for key, found in sweep.sweep.searched.items()}).params["seed"]


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([["say", "no memory left"], ["exit", 3]], "failed with status 3: no memory left"),
        ([["say", "done"]], "ended without a final evaluation of the relay student: done"),
    ],
)
def test_a_trial_that_fails_is_named_the_others_go_on_and_it_is_tried_again(scripted, capsys, steps, reason) -> None:
    sweep = scripted()
    sweep.tell(_1=[final(0.5)], _2=steps, _3=[final(0.6)])
    assert run(sweep) == {1: State.FINISHED, 2: State.FAILED, 3: State.FINISHED}
    with pytest.raises(SweepError) as error:
        write_outcome(sweep.sweep)
    assert reason in str(error.value) and "1 of 3 trials failed" in str(error.value)
    page = (sweep.sweep.directory / "report.html").read_text()
    assert "Trials that failed" in page and reason.partition(":")[0] in page

    sweep.starts()
    sweep.tell(_1=[], _2=[final(0.7)], _3=[])
    assert run(sweep) == dict.fromkeys((1, 2, 3), State.FINISHED)
    (start,) = sweep.starts()
    assert start["seed"] == "2"
    assert "Trials that failed" not in write_outcome(sweep.sweep).read_text()


def test_values_that_do_not_go_together_fail_alone(scripted, capsys) -> None:
    parameters = {
        "seed": {"values": [1]},
        "grpo.prompts_per_step": {"values": [8, 4]},
        "grpo.mini_batches": {"values": [4, 8]},
    }
    sweep = scripted(parameters=parameters)
    sweep.tell(_1=[final(0.5)])
    run_trials(sweep.sweep, 1, sweep.command)
    failed = read_results(sweep.sweep).of(State.FAILED)
    assert [trial.values["grpo.mini_batches"] for trial in failed] == [8]
    assert "mini_batches (8) should be at most prompts_per_step (4)" in failed[0].reason
    assert len(sweep.starts()) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_told_to_stop_stops_its_trials_and_goes_on_later(scripted, number: int) -> None:
    sweep = scripted()
    steps = [within(10, 0.4), ["say", "here"], ["wait"]]
    sweep.tell(_1=steps, _2=steps, _3=steps)
    code = (
        "import sys; from pathlib import Path;"
        "from pipelines.terminal.interruption import interruptible; from pipelines.sweep.runner import run_trials;"
        "from pipelines.sweep.plan import load_sweep;"
        "sys.exit(interruptible(lambda: run_trials(load_sweep(Path(sys.argv[1])), 2, sys.argv[2:])))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(sweep.file), *sweep.command],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = (line for line in process.stdout if line.startswith("trial "))
    begun = [line for _, line in zip("12", lines, strict=False)]
    assert len(begun) == 2
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number and "To go on:" in said
    places = {start["run_dir"] for start in sweep.starts()}
    assert sorted(states(sweep).values()) == [State.INTERRUPTED] * 2
    page = write_outcome(sweep.sweep).read_text()
    assert "interrupted; the same command goes on with it" in page

    sweep.tell(_1=[final(0.5)], _2=[final(0.6)], _3=[final(0.7)])
    assert run(sweep) == dict.fromkeys((1, 2, 3), State.FINISHED)
    again = [start["run_dir"] for start in sweep.starts()]
    assert len(again) == 3 and places < set(again)


def test_trials_json_has_all_trials(scripted) -> None:
    sweep = scripted()
    sweep.tell(_1=[final(0.5)], _2=[final(0.9, 0.1)], _3=[final(0.6, 0.04)])
    run(sweep)
    write_outcome(sweep.sweep)
    table = json.loads((sweep.sweep.directory / "trials.json").read_text())
    rows = {row["values"]["seed"]: row for row in table["trials"]}
    assert rows[2]["accuracy_within_budget"] == 0.45 and rows[2]["state"] == "finished"
    assert table["best"] == rows[3]["trial"]


def test_a_sweep_without_trials_has_no_page(scripted) -> None:
    with pytest.raises(SweepError, match="no trial of this sweep has begun"):
        write_outcome(scripted().sweep)
