"""Binds a run directory to an experiment: its settings, and the folders in which its stages are shared."""

from __future__ import annotations

from pipelines.experiment.loading import resolved_yaml, with_defaults
from pipelines.experiment.resume import MAY_CHANGE_ON_RESUME
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import shared_folders
from pipelines.records.run_directory import RunDirectory


def bind(directory: RunDirectory, experiment: Experiment) -> None:
    """Bind a new directory to the experiment, or check that an old one belongs to it.

    Raises `OtherExperimentError` if the directory belongs to a run with other settings: their results would be mixed.
    """
    may_change = MAY_CHANGE_ON_RESUME if experiment.share_dir is not None else (*MAY_CHANGE_ON_RESUME, "learner.dtype")
    directory.bind_experiment(resolved_yaml(experiment), may_change, lambda earlier: with_defaults(earlier, Experiment))
    directory.share_stages(shared_folders(experiment))


def bind_steps(directory: RunDirectory, experiment: Experiment, resolved: Experiment) -> None:
    """Share the evaluations within GRPO too, once `resolved` says after which steps they are."""
    bound = shared_folders(experiment)
    directory.share_stages({stage: at for stage, at in shared_folders(resolved).items() if stage not in bound})
