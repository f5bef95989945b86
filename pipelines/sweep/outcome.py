"""What a sweep leaves: its page, and its numbers for machines."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from cluster.files import write_atomically
from pipelines.analysis.sweep_results import State, SweepResults, SweepTrial
from pipelines.sweep.plan import Sweep
from pipelines.sweep.results import read_results

REPORT, TABLE = "report.html", "trials.json"


class SweepError(RuntimeError):
    """Trials of the sweep failed, or there are none; the message names them."""


def write_outcome(sweep: Sweep) -> Path:
    """Write the page and trials.json on all trials on disk, and return the page's path.

    Raises `SweepError` if no trial has begun, and, after the page is written, if trials failed.
    """
    from pipelines.report.sweep import write_sweep_page

    results = read_results(sweep)
    if not results.trials:
        raise SweepError(f"{sweep.directory}: no trial of this sweep has begun; start it without --report-only")
    write_atomically(sweep.directory / TABLE, (json.dumps(table(results), indent=2) + "\n").encode())
    report = write_sweep_page(results, sweep.directory / REPORT, repeat(sweep, results))
    if failed := results.of(State.FAILED):
        lines = "\n".join(f"  trial {trial.number}: {trial.reason}" for trial in failed)
        raise SweepError(
            f"{len(failed)} of {len(results.trials)} trials failed; the same command tries them again:\n{lines}\n"
            f"report: {report}"
        )
    return report


def table(results: SweepResults) -> dict[str, object]:
    """Return the content of trials.json: shares between 0 and 1, and seconds."""
    best = results.best
    return {
        "sweep": results.name,
        "method": results.method,
        "call_ratio_budget": results.budget,
        "best": best.number if best else None,
        "trials": [_row(trial) for trial in results.trials],
    }


def repeat(sweep: Sweep, results: SweepResults) -> str:
    """Return the command that runs the best trial's values again; empty if no trial is finished."""
    if results.best is None:
        return ""
    return shlex.join(["relayllm", "run", str(sweep.settings.program), *sweep.arguments(results.best.values)])


def _row(trial: SweepTrial) -> dict[str, object]:
    found = trial.objective
    return {
        "trial": trial.number,
        "state": trial.state.value,
        "values": dict(trial.values),
        "accuracy": found and round(found.accuracy, 6),
        "call_ratio": found and round(found.call_ratio, 6),
        "accuracy_within_budget": found and round(found.value, 6),
        "seconds": round(trial.seconds, 1),
        "reason": trial.reason,
    }
