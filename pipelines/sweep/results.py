"""Puts together what is on disk of a sweep's trials, for its page and its tables."""

from __future__ import annotations

from pathlib import Path

from pipelines.analysis.sweep_results import State, SweepResults, SweepTrial
from pipelines.sweep.plan import Sweep
from pipelines.sweep.progress import objectives
from pipelines.sweep.search import Kept, read_trials


def trial_directory(sweep_directory: Path, number: int) -> Path:
    """Return the run directory of a trial of `relayllm sweep`."""
    return sweep_directory / "trials" / str(number)


def read_results(sweep: Sweep) -> SweepResults:
    """Return all trials of the sweep, from its directory."""
    budget = sweep.experiment.evaluation.call_ratio_budget
    return SweepResults(
        name=sweep.name,
        method=sweep.settings.method,
        wanted=sweep.trials,
        budget=budget,
        parameters=tuple(sweep.searched),
        logarithmic=frozenset(key for key, found in sweep.searched.items() if "log" in found.drawn),
        trials=tuple(shown(sweep, trial) for trial in read_trials(sweep.directory)),
    )


def shown(sweep: Sweep, trial: Kept) -> SweepTrial:
    """Return the trial with what its run directory has."""
    directory = trial_directory(sweep.directory, trial.number)
    within, final = objectives(directory, sweep.experiment.evaluation.call_ratio_budget)
    states = {"COMPLETE": State.FINISHED, "PRUNED": State.PRUNED, "RUNNING": State.INTERRUPTED}
    failed = State.FAILED if trial.reason else State.INTERRUPTED
    return SweepTrial(
        trial.number,
        states.get(trial.state, failed),
        trial.values,
        (*within, final) if final else within,
        directory,
        trial.seconds,
        trial.reason,
    )
