"""Sets aside the directory of a study's run whose settings have changed, so that the run can start in a new one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from pipelines.records.binding import bind
from pipelines.records.run_directory import OtherExperimentError, RunDirectory, RunDirectoryError
from pipelines.study.plan import Study, StudyRun


@dataclass(frozen=True, slots=True)
class SetAside:
    """The new path of the directory with the earlier settings, and a line for each change."""

    path: Path
    changes: tuple[str, ...]


def set_aside_if_changed(study: Study, run: StudyRun) -> SetAside | None:
    """Rename the run's directory if it belongs to other settings, and return its new path; None if the run goes on in it.

    Nothing is lost: finished stages are in the study's shared folder, where the run finds those that it still needs.
    """
    directory = RunDirectory(run.directory)
    if not directory.experiment.exists():
        return None
    try:
        with directory:
            try:
                bind(directory, run.experiment)
            except OtherExperimentError as error:
                path = _free_path(study, run.directory)
                run.directory.rename(path)
                return SetAside(path, error.changes)
    except RunDirectoryError:
        pass  # in use or unreadable: the run itself stops with this error
    return None


def _free_path(study: Study, directory: Path) -> Path:
    taken = {run.directory for run in study.runs.values()}
    paths = (directory.with_name(f"{directory.name}.{number}") for number in itertools.count(1))
    return next(path for path in paths if path not in taken and not path.exists())
