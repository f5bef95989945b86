"""Opens a user's experiment to run it. Unlike reading the experiment.yaml of a run, this imports the reward scheme that it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.experiment.alarm_actions import Action
from pipelines.experiment.alarms import ALARMS
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.file_kinds import EXPERIMENT, require_kind
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from rewards.schemes import UnknownSchemeError, find_scheme


def opened(file: Path, overrides: Sequence[str]) -> Experiment:
    """Return the experiment in a file of the user, with `key.sub=value` overrides.

    Raises `click.UsageError` if the file is of another kind, and `ConfigError` if settings are wrong or there is no such scheme.
    """
    require_kind(file, EXPERIMENT)
    experiment = load(file, overrides, Experiment)
    try:
        find_scheme(experiment.reward.scheme)
    except UnknownSchemeError as error:
        raise ConfigError([f"{file}: reward.scheme: {error}"]) from error
    if too_few := list(too_few_checkpoints(experiment)):
        raise ConfigError([f"{file}: {line}" for line in too_few])
    return experiment


def too_few_checkpoints(experiment: Experiment) -> Iterator[str]:
    """Yield a line for each alarm whose `roll_back` needs an older checkpoint than the run keeps."""
    grpo = experiment.grpo
    kept = grpo.keep_checkpoints * grpo.checkpoint_every
    if grpo.steps is not None and grpo.steps <= kept:  # none is removed
        return
    for name, action in grpo.on_alarm:
        before = ALARMS[name].steps - 1
        in_force = getattr(experiment.alarms_in_force, name) is not None
        if action is Action.ROLL_BACK and in_force and kept - grpo.checkpoint_every < before:
            yield (
                f"grpo.keep_checkpoints ({grpo.keep_checkpoints}) should be at least {-(-before // grpo.checkpoint_every) + 1} with "
                f"grpo.checkpoint_every ({grpo.checkpoint_every}) and grpo.on_alarm.{name} (roll_back): this alarm begins when its "
                f"condition has held for {before + 1} steps, and training goes back to a checkpoint from before them"
            )
