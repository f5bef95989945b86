"""The page of a sweep: what failed stands as large as what worked, and it opens in a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.analysis.sweep_results import State, SweepResults, SweepTrial
from pipelines.records.objective import WithinBudget
from pipelines.report.sweep import write_sweep_page
from pipelines.report.sweep.page import render, verdict
from tests.browser import FAINT_TEXTS, OVERFLOW, address, chromium, tab

__all__ = ["address", "chromium", "tab"]

BUDGET = 0.05
STATES = [
    State.FINISHED, State.PRUNED, State.FINISHED, State.FINISHED, State.FAILED, State.PRUNED, State.FINISHED, State.INTERRUPTED,
]  # fmt: skip
REASONS = {
    State.FAILED: "failed with status 1: <b>CUDA</b> out of memory",
    State.PRUNED: "behind the other trials after iteration 2",
}


def trial(number: int, state: State, folder: Path) -> SweepTrial:
    """Return a made-up trial: the higher its number, the more it calls."""
    reached = 0.4 + 0.05 * number
    curve = [WithinBudget(reached * share, 0.01 + 0.012 * number, BUDGET) for share in (0.5, 0.8, 0.95, 1.0)]
    shown = {State.FINISHED: 4, State.PRUNED: 2, State.INTERRUPTED: 1}.get(state, 0)
    values = {
        "grpo.optimizer.lr": 1e-4 * 1.4**number,
        "reward.independence_bonus": (1.0, 1.5, 2.0)[number % 3],
        "grpo.group_size": (4, 8, 16)[number % 3],
        "grpo.loss.aggregation": ("token_mean", "sequence_mean")[number % 2],
    }
    return SweepTrial(number, state, values, tuple(curve[:shown]), folder / str(number), 61.0, REASONS.get(state, ""))


@pytest.fixture
def results(tmp_path: Path) -> SweepResults:
    trials = tuple(trial(number, state, tmp_path / "trials") for number, state in enumerate(STATES))
    keys = tuple(trials[0].values)
    return SweepResults("demo-search", "bayes", 10, BUDGET, keys, frozenset({"grpo.optimizer.lr"}), trials)


def test_the_best_is_what_counts_within_the_budget(results: SweepResults) -> None:
    values = {one.number: one.objective.value for one in results.of(State.FINISHED) if one.objective}
    assert results.best is not None and results.best.number == max(values, key=values.__getitem__) == 3
    assert [one.number for one in results.ranked] == sorted(values, key=values.__getitem__, reverse=True)
    assert verdict(results).startswith("Trial 3 is the best of 4 finished trials: 55.0")
    assert verdict(results).endswith("1 trial failed.")


def test_a_trial_over_the_budget_is_called_so(results: SweepResults) -> None:
    over = replace(results, trials=(results.trials[6],))
    assert "over the budget of 5.0" in verdict(over)


def test_without_a_finished_trial_the_page_says_so(results: SweepResults, tmp_path: Path) -> None:
    none = replace(results, trials=tuple(one for one in results.trials if one.state is State.FAILED))
    page = write_sweep_page(none, tmp_path / "report.html").read_text()
    assert "No trial has finished. 1 trial failed." in page and "Left out: no trial has been evaluated" in page


def test_a_page_without_trials_can_be_written(results: SweepResults, tmp_path: Path) -> None:
    page = write_sweep_page(replace(results, trials=()), tmp_path / "report.html").read_text()
    assert "No trial has begun." in page


def test_trials_link_to_their_reports_where_they_have_one(results: SweepResults, tmp_path: Path) -> None:
    for number in (0, 1):
        (tmp_path / "trials" / str(number)).mkdir(parents=True)
    (tmp_path / "trials" / "1" / "report.html").write_text("")
    page = write_sweep_page(results, tmp_path / "report.html").read_text()
    assert 'href="trials/1/report.html"' in page and "trials/0/report.html" not in page


def test_the_page_opens_and_every_trial_is_on_it(tab, results: SweepResults, tmp_path: Path, address) -> None:
    page = write_sweep_page(results, tmp_path / "report.html", "relayllm run experiments/demo.yaml seed=1")
    tab.open(address(page))
    assert tab.evaluate("document.images.length") == 3
    assert tab.evaluate("Array.from(document.images).every((image) => image.naturalWidth > 0)")
    rows = tab.evaluate("Array.from(document.querySelectorAll('tbody tr'), (row) => row.dataset.trial)")
    assert sorted(rows) == [str(number) for number in range(8)] and rows[0] == "3"
    failed = tab.evaluate("document.getElementById('failed').textContent")
    assert "Trial 4" in failed and "<b>CUDA</b> out of memory" in failed and "Trial 7" in failed
    assert [request for request in tab.requests if not request.startswith("data:")] == [address(page)]
    assert tab.errors == []
    for width in (360, 800, 1400):
        tab.resize(width)
        assert tab.evaluate(OVERFLOW) == 0
    for scheme in ("light", "dark"):
        tab.prefer(scheme)
        assert tab.evaluate(FAINT_TEXTS) == []


def test_all_text_is_escaped(results: SweepResults, tmp_path: Path) -> None:
    from pipelines.report.assembly import FigureBlock

    hostile = replace(results, name="<script>alert(1)</script>")
    nothing = FigureBlock("t", "c", "n", "", "")
    page = render(hostile, (nothing, nothing, nothing), tmp_path)
    assert "<script>alert" not in page and "<b>CUDA" not in page
