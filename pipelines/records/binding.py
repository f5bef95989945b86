"""Binds a run directory to an experiment: its settings, and the folders in which its stages are shared."""

from __future__ import annotations

from pipelines.experiment.loading import resolved_yaml, with_defaults
from pipelines.experiment.resume import MAY_CHANGE_ON_RESUME
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import shared_folders, stage_keys
from pipelines.records.run_directory import RunDirectory, RunDirectoryError


def bind(directory: RunDirectory, experiment: Experiment) -> None:
    """Bind a new directory to the experiment, or check that an old one belongs to it.

    Raises `OtherExperimentError` if the directory belongs to a run with other settings: their results would be mixed.
    """
    directory.bind_experiment(resolved_yaml(experiment), _may_change(experiment), _completed)
    directory.share_stages(shared_folders(experiment))


def what_a_run_would_do(experiment: Experiment) -> str:
    """Return where the run's directory is, and whether a run would begin there or go on. Nothing is written.

    Raises `OtherExperimentError` as `bind` does. A run at a URL is not looked at.
    """
    if experiment.url is not None:
        return experiment.url
    directory = RunDirectory(experiment.directory.resolve())
    if not directory.experiment.exists():
        if directory.path.exists() and not directory.path.is_dir():
            raise RunDirectoryError(f"{directory.path}: is a file, and a run needs a folder; choose another run_dir")
        return f"{directory.path}, new"
    changes = directory.changes(resolved_yaml(experiment), _may_change(experiment), _completed)
    directory.refuse(changes)
    if not all(change.may for change in changes):
        return f"{directory.path}; no stage of it has begun, and the run would begin with these settings"
    stages = stage_keys(experiment)
    done = sum(directory.stage_done(stage) for stage in stages)
    if done == len(stages):
        return f"{directory.path}; its run is finished"
    with_changes = f" with {'; '.join(map(str, changes))}," if changes else ""
    return f"{directory.path}; its run would go on{with_changes} after {done} of {len(stages)} stages"


def _may_change(experiment: Experiment) -> tuple[str, ...]:
    return MAY_CHANGE_ON_RESUME if experiment.share_dir is not None else (*MAY_CHANGE_ON_RESUME, "learner.dtype")


def _completed(earlier: object) -> object:
    return with_defaults(earlier, Experiment)


def bind_steps(directory: RunDirectory, experiment: Experiment, resolved: Experiment) -> None:
    """Share the evaluations within GRPO too, once `resolved` says after which steps they are."""
    bound = shared_folders(experiment)
    directory.share_stages({stage: at for stage, at in shared_folders(resolved).items() if stage not in bound})
