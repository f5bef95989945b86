"""Opens a user's experiment to run it. Unlike reading the experiment.yaml of a run, this imports the reward scheme that it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
    return experiment
