"""Loads a study: its file and all experiments that it names, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.experiment.loading import ConfigError, load
from pipelines.experiment.opening import opened
from pipelines.experiment.schema import Experiment
from pipelines.experiment.yaml_values import in_one_line
from pipelines.study.checks import Place, check_names, check_same_evaluation_data, check_systems, kinds_without_problems
from pipelines.study.settings import StudySettings

OWN_KEYS = ("name", "run_dir", "share_dir")
"""keys of an experiment that a study sets itself, or that tell its runs apart"""


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One run of a study."""

    name: str
    file: Path
    overrides: tuple[str, ...]
    """values that replace those of the file, as arguments of `python -m pipelines run`"""
    experiment: Experiment

    @property
    def directory(self) -> Path:
        return self.experiment.directory


@dataclass(frozen=True, slots=True)
class Study:
    """A study that has been checked and can start."""

    settings: StudySettings
    directory: Path
    runs: Mapping[str, StudyRun]
    """in the order in which they are run"""
    systems: Mapping[str, Place]


def load_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Return the study in the file at `path` with `key.sub=value` overrides.

    Raises `ConfigError`, which lists every problem of the study and of its experiments.
    """
    settings = load(path, overrides, StudySettings)
    directory = (settings.directory or Path("runs") / settings.name).resolve()
    runs, problems = _load_runs(path, settings, directory)
    experiments = {name: run.experiment for name, run in runs.items()}
    places = {system: Place(*place.split("/")) for system, place in settings.systems.items()}
    problems += check_systems(path, places, settings.runs, experiments)
    if len(experiments) == len(settings.runs):
        compared = {name: experiments[name] for name in experiments if any(name == at.run for at in places.values())}
        problems += check_names(path, experiments)
        problems += check_same_evaluation_data(path, compared)
        problems += kinds_without_problems(path, {"hard": settings.hard, "unseen": settings.unseen}, compared)
    if problems:
        raise ConfigError(problems)
    return Study(settings, directory, runs, places)


def _load_runs(path: Path, settings: StudySettings, directory: Path) -> tuple[dict[str, StudyRun], list[str]]:
    """Return the runs whose experiments are valid, and the problems of the others. A shared problem is one line."""
    own = [key for key in OWN_KEYS if key in settings.overrides]
    problems = [f"{path}: overrides.{key}: is set by the study for each run; leave it out" for key in own]
    common = _dotted({key: value for key, value in settings.overrides.items() if key not in own})
    runs: dict[str, StudyRun] = {}
    found: dict[str, list[str]] = {}
    for name, file in settings.runs.items():
        places = {"run_dir": directory / "runs" / name, "share_dir": directory / "shared"}
        overrides = (*common, *_dotted({key: str(place) for key, place in places.items()}))
        file = path.parent / file
        try:
            runs[name] = StudyRun(name, file, overrides, opened(file, overrides))
        except ConfigError as error:
            for problem in error.problems:
                found.setdefault(problem, []).append(name)
    return runs, problems + [f"runs.{', runs.'.join(names)}: {problem}" for problem, names in found.items()]


def _dotted(values: Mapping[str, object], prefix: str = "") -> tuple[str, ...]:
    """Return nested keys as `key.sub=value` arguments."""
    arguments: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            arguments += _dotted(value, f"{prefix}{key}.")
        else:
            arguments.append(f"{prefix}{key}={in_one_line(value)}")
    return tuple(arguments)
