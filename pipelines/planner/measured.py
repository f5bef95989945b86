"""Rates of a run that was measured on this machine: its own metrics say how long phases took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from pipelines.experiment.errors import ConfigError
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_names import GRPO
from pipelines.planner.rates import EngineRates, LearnerRates, Rates
from pipelines.planner.shapes import Shape
from pipelines.planner.simulation import simulate
from pipelines.planner.split import layout_of
from pipelines.records.run_directory import RunDirectory
from pipelines.records.tracking import read_metrics

_HALVINGS = 24
_FIRST_STEPS = 2
"""steps left out: libraries still load and compile"""
_PER_SEQUENCE = 0.05
"""of an engine on a CPU: the time of one more sequence in a step, as a part of what every step costs"""


@dataclass(frozen=True, slots=True)
class Measured:
    """Mean times of a run's GRPO steps, in seconds."""

    experiment: Experiment
    rollout_s: float
    learn_s: float
    sync_s: float
    step_s: float
    """without evaluations and checkpoints"""


def measured(run: Path) -> Measured:
    """Return the mean times of a run. Raises `ConfigError` if it has too few GRPO steps."""
    steps = list(read_metrics(RunDirectory(run), GRPO).values())[_FIRST_STEPS:]
    names = ("time/rollout_s", "time/learn_s", "time/sync_s")
    rows = [[row.get(name) for name in names] for row in steps]
    whole = [[value for value in row if value is not None] for row in rows]
    complete = [row for row in whole if len(row) == len(names)]
    if not complete:
        raise ConfigError(
            [f"--from {run}: metrics.jsonl has no GRPO step after the first {_FIRST_STEPS}; give a longer run"]
        )
    rollout_s, learn_s, sync_s = (fmean(column) for column in zip(*complete, strict=True))
    experiment = load(run / "experiment.yaml", [], Experiment)
    waited = [row.get("time/wait_s") for row in steps]
    waits = [wait for wait in waited if wait is not None]
    step_s = learn_s + sync_s + (fmean(waits) if experiment.grpo.async_depth and waits else rollout_s)
    return Measured(experiment, rollout_s, learn_s, sync_s, step_s)


def measured_rates(found: Measured, shapes: Sequence[Shape]) -> Rates:
    """Return rates with which the simulation of the measured run takes as long as the run did.

    Both engines get one speed, found by halving, because a run does not say how long each of its engines was busy. The learner's
    rate is for each token that is decoded: it leaves out groups without an advantage, and their share is taken to stay as it was.
    """
    layout = replace(layout_of(found.experiment), async_depth=0)
    decoded = simulate(layout, _rates(1.0, LearnerRates(0.0), found.sync_s), shapes).tokens
    learner = LearnerRates(found.learn_s * layout.ranks / decoded)
    slow, quick = 1.0, 1e-7
    for _ in range(_HALVINGS):
        middle = (slow * quick) ** 0.5
        rates = _rates(middle, learner, found.sync_s)
        if simulate(layout, rates, shapes).rollout_s > found.rollout_s:
            slow = middle
        else:
            quick = middle
    return _rates(slow, learner, found.sync_s)


def _rates(step_s: float, learner: LearnerRates, sync_s: float) -> Rates:
    engine = EngineRates(step_s=step_s, cache_s=step_s * _PER_SEQUENCE, prefill_s=step_s * _PER_SEQUENCE)
    return Rates(engine, engine, learner, hop_s=step_s, grading_s=0.0, sync_s=sync_s)
