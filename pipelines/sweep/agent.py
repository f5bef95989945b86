"""One trial for an agent of W&B: a run in its own directory, on this machine or as a Ray job.

The agent sets WANDB_RUN_ID after it has filled in its command, so the command line cannot carry it: it is read here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from pipelines.experiment.errors import problem
from pipelines.experiment.loading import ConfigError
from pipelines.study.processes import RUN
from pipelines.sweep.plan import TRIAL, Sweep, Trial

RUN_ID, SWEEP_ID = "WANDB_RUN_ID", "WANDB_SWEEP_ID"


def agents_trial(sweep: Sweep, arguments: Sequence[str], environ: Mapping[str, str]) -> Trial:
    """Return the trial that an agent asks for with its `key=value` arguments and its environment.

    Its directory is named by W&B's ids of sweep and run: a run that W&B resumes goes on in it, and no other run has it.
    Raises `ConfigError` if it is no agent's, or not of this sweep.
    """
    problems = [
        f"{name}: is not set: {TRIAL} is for agents of W&B, which set it; without one, leave {TRIAL} out"
        for name in (RUN_ID, SWEEP_ID)
        if not environ.get(name)
    ]
    for argument in arguments:
        key = argument.partition("=")[0]
        if key not in sweep.settings.parameters:
            right = "the agent gives a value to a key that the file has not: it is of another sweep, or the file has changed"
            problems.append(problem(str(sweep.file), ("parameters", key), right))
    if problems:
        raise ConfigError(problems)
    label = environ[RUN_ID]
    trial = sweep.trial(arguments, label, sweep.directory / f"wandb-{environ[SWEEP_ID]}" / label)
    if trial.experiment.tracking.mode == "disabled":
        right = "W&B would get no number of this trial: add `tracking.mode: {value: auto}` to the sweep's parameters"
        raise ConfigError([problem(str(sweep.settings.program), ("tracking", "mode"), right, "disabled")])
    return trial


def become(sweep: Sweep, trial: Trial) -> NoReturn:
    """Replace this process by the trial's run. So the agent's signals reach it, and its exit status is the agent's to see."""
    sys.stdout.flush()
    os.execv(RUN[0], [*RUN, str(sweep.settings.program), *trial.overrides])
