"""Writes a sweep's page: its best trial, what failed, figures, and a table of all trials."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.files import write_atomically
from pipelines.analysis.sweep_results import State, SweepResults, SweepTrial
from pipelines.report.assembly import FigureBlock, filled, write_figures
from pipelines.report.sweep.figures import ITERATIONS, PARALLEL, PLANE
from pipelines.wording import counted, percent

_STYLES = {State.FINISHED: "finished", State.PRUNED: "pruned", State.FAILED: "failed"}
_SIGNS = {State.FINISHED: "✓", State.PRUNED: "✕", State.FAILED: "!"}


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial as the table shows it."""

    number: int
    state: str
    style: str
    sign: str
    values: tuple[str, ...]
    given: str
    """its values with their keys"""
    accuracy: str
    call_ratio: str
    objective: str
    time: str
    reason: str
    report: str
    """address of the trial's own report, relative to the page; empty if it has none"""
    best: bool


def write_sweep_page(results: SweepResults, path: Path, repeat: str = "") -> Path:
    """Write the page at `path` and figures/*.png beside it, and return the path.

    `repeat` is the command that runs the best trial's values again.
    """
    figures = write_figures((PARALLEL, PLANE, ITERATIONS), results, path.parent / "figures")
    write_atomically(path, render(results, figures, path.parent, repeat).encode())
    return path


def render(results: SweepResults, figures: Sequence[FigureBlock], folder: Path, repeat: str = "") -> str:
    """Return the page as HTML. All text of the results is escaped. Links are relative to `folder`."""
    parallel, plane, iterations = figures
    failed = results.of(State.FAILED, State.INTERRUPTED)
    ordered = [*results.ranked, *results.of(State.PRUNED, State.RUNNING), *failed]
    return filled(
        "sweep/template.html.j2",
        {
            "name": results.name,
            "verdict": verdict(results),
            "tone": "bad" if results.best is None else "mixed" if failed else "good",
            "facts": facts(results),
            "failed_title": "Trials that failed" + (" or were interrupted" if results.of(State.INTERRUPTED) else ""),
            "failed": [_row(results, trial, folder) for trial in failed],
            "repeat": repeat,
            "parameters": results.parameters,
            "rows": [_row(results, trial, folder) for trial in ordered],
            "budget": results.budget,
            "parallel": parallel,
            "plane": plane,
            "iterations": iterations,
        },
    )


def verdict(results: SweepResults) -> str:
    """Return the sweep's outcome in a sentence or two."""
    failed = len(results.of(State.FAILED))
    ending = f" {counted(failed, 'trial')} failed." if failed else ""
    if results.best is None or results.best.objective is None:
        return f"No trial has finished.{ending}"
    found = results.best.objective
    within = "within the budget" if found.call_ratio <= found.budget else "over the budget"
    text = (
        f"Trial {results.best.number} is the best of {counted(len(results.ranked), 'finished trial')}: {percent(found.accuracy)} "
        f"accuracy at a call ratio of {percent(found.call_ratio)}, {within} of {percent(found.budget)}."
    )
    return text + ending


def facts(results: SweepResults) -> list[tuple[str, str]]:
    """Return the facts at the top of the page."""
    left = results.wanted - len(results.of(State.FINISHED, State.PRUNED, State.FAILED))
    best = results.best
    return [
        ("best accuracy within budget", percent(best.objective.value) if best and best.objective else "–"),
        ("finished", str(len(results.of(State.FINISHED)))),
        ("ended early", str(len(results.of(State.PRUNED)))),
        ("failed", str(len(results.of(State.FAILED)))),
        ("left", str(max(left, 0))),
        ("method", results.method),
        ("call ratio budget", percent(results.budget)),
    ]


def _row(results: SweepResults, trial: SweepTrial, folder: Path) -> TrialRow:
    found = trial.objective
    report = trial.directory / "report.html"
    minutes, seconds = divmod(round(trial.seconds), 60)
    values = tuple(_value(trial.values.get(key)) for key in results.parameters)
    return TrialRow(
        number=trial.number,
        state=trial.state.value,
        style=_STYLES.get(trial.state, "left"),
        sign=_SIGNS.get(trial.state, "…"),
        values=values,
        given=", ".join(f"{key} = {value}" for key, value in zip(results.parameters, values, strict=True)),
        accuracy=percent(found.accuracy) if found else "–",
        call_ratio=percent(found.call_ratio) if found else "–",
        objective=percent(found.value) if found else "–",
        time=f"{minutes}:{seconds:02d}",
        reason=trial.reason,
        report=os.path.relpath(report, folder) if report.exists() else "",
        best=trial is results.best,
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
