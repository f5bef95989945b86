"""Optuna's part of a sweep: which values come, which trials end early, and what a journal keeps."""

from __future__ import annotations

import itertools

import pytest

from pipelines.records.run_directory import OtherExperimentError
from pipelines.sweep.plan import load_sweep
from pipelines.sweep.search import Asked, Search, pruner, read_trials
from pipelines.sweep.settings import EarlyTerminateSettings

TWO = {"seed": {"values": [1, 2, 3]}, "reward.independence_bonus": {"values": [1.0, 1.5]}}
RANGE = {"grpo.optimizer.lr": {"distribution": "log_uniform_values", "min": 1.0e-6, "max": 1.0e-3}}


@pytest.fixture
def opened(write_sweep):
    """Return a function that opens the sweep's journal, as a new session does."""

    def open_search(**changes) -> Search:
        sweep = load_sweep(write_sweep(**changes))
        sweep.directory.mkdir(parents=True, exist_ok=True)
        return Search(sweep)

    return open_search


def pair(asked: Asked) -> tuple[object, object]:
    return asked.values["seed"], asked.values["reward.independence_bonus"]


def test_a_grid_gives_each_combination_once(opened) -> None:
    search = opened(parameters=TWO)
    given = []
    while asked := search.ask():
        given.append(pair(asked))
        search.finished(asked, 0.5, 1.0)
    assert sorted(given) == sorted(itertools.product([1, 2, 3], [1.0, 1.5]))
    assert [trial.number for trial in search.trials()] == list(range(6))


def test_a_grid_gives_each_combination_once_over_failures_and_interruptions(opened) -> None:
    search = opened(parameters=TWO)
    first, second, third = (search.ask() for _ in range(3))
    search.finished(first, 0.5, 1.0)
    search.failed(second, "out of memory", 1.0)  # and the third is under way when the session ends
    again = opened(parameters=TWO)
    repeated = [again.ask() for _ in range(2)]
    assert [(one.number, one.values) for one in repeated] == [(1, second.values), (2, third.values)]
    given = [pair(first), *map(pair, repeated)]
    while asked := again.ask():
        given.append(pair(asked))
    assert sorted(given) == sorted(itertools.product([1, 2, 3], [1.0, 1.5]))


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_values_lie_in_their_range_and_differ_over_sessions(opened, method: str) -> None:
    changes = {"parameters": RANGE, "method": method, "run_cap": 8}
    values = []
    for _ in range(2):
        search = opened(**changes)
        for _ in range(4):
            asked = search.ask()
            values.append(asked.values["grpo.optimizer.lr"])
            search.finished(asked, 0.5, 1.0)
    assert opened(**changes).ask() is None
    assert len(set(values)) == 8 and all(1e-6 <= value <= 1e-3 for value in values)


def test_a_raised_run_cap_goes_on_with_the_same_trials(opened) -> None:
    search = opened(parameters=RANGE, method="random", run_cap=1)
    search.finished(search.ask(), 0.5, 1.0)
    assert search.ask() is None
    assert opened(parameters=RANGE, method="random", run_cap=2).ask().number == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"parameters": {"seed": {"values": [1, 2]}}}, "parameters.seed"),
        ({"experiment": {"grpo": {"steps": 50}}}, "grpo.steps: 40 -> 50"),
        (
            {"parameters": {"seed": {"values": [1, 2, 3]}, "evaluation.call_ratio_budget": {"value": 0.1}}},
            "0.05 -> 0.1",
        ),
    ],
)
def test_a_directory_of_another_sweep_is_refused_with_what_differs(opened, changes, named: str) -> None:
    opened().ask()
    with pytest.raises(OtherExperimentError, match="has trials of another sweep") as error:
        opened(**changes)
    assert named in str(error.value)


def test_other_machines_are_no_other_sweep(opened) -> None:
    opened().ask()
    opened(experiment={"cluster": {"device": "cpu", "address": "elsewhere:1"}}).ask()


def test_an_interrupted_trial_is_told_from_a_failed_one(opened, write_sweep) -> None:
    search = opened()
    search.failed(search.ask(), "out of memory", 2.0)
    search.ask()
    opened()
    directory = load_sweep(write_sweep()).directory
    assert [(trial.state, trial.reason) for trial in read_trials(directory)] == [
        ("FAIL", "out of memory"),
        ("FAIL", ""),
    ]


@pytest.mark.parametrize(
    ("written", "first", "eta"),
    [
        ({"min_iter": 2}, 2, 3),
        ({"min_iter": 1, "eta": 2}, 1, 2),
        ({"max_iter": 27, "s": 2}, 3, 3),
        ({"max_iter": 4, "s": 3, "eta": 2}, 1, 2),
    ],
)
def test_hyperband_of_wandb_is_successive_halving_of_optuna(written, first: int, eta: int) -> None:
    early = EarlyTerminateSettings.model_validate({"type": "hyperband", **written})
    made = pruner(early)
    assert (type(made).__name__, made._min_resource, made._reduction_factor) == ("SuccessiveHalvingPruner", first, eta)
    assert type(pruner(None)).__name__ == "NopPruner"


def test_a_trial_behind_the_others_should_end_and_the_best_third_goes_on(opened) -> None:
    search = opened(
        parameters={"seed": {"values": list(range(6))}}, early_terminate={"type": "hyperband", "min_iter": 1, "eta": 3}
    )
    trials = [search.ask() for _ in range(6)]
    ended = [trial.report(1, value) for trial, value in zip(trials, (0.9, 0.8, 0.1, 0.7, 0.95, 0.2), strict=True)]
    assert ended == [False, True, True, True, False, True]


def test_nothing_ends_before_the_first_comparison(opened) -> None:
    search = opened(early_terminate={"type": "hyperband", "min_iter": 2, "eta": 3})
    first, second = search.ask(), search.ask()
    assert not first.report(1, 0.9) and not second.report(1, 0.1)
    assert not first.report(2, 0.9) and second.report(2, 0.1)
