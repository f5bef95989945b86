"""A submitted run, as the cluster's Jobs API knows it. Its metadata is all that this project keeps of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

_PREFIX = "relayllm."


class UnknownRunError(ValueError):
    """The cluster has no job of this run. The message names those that it has."""


@dataclass(frozen=True, slots=True)
class JobNotes:
    """What a job's metadata says of its run. Everybody who sees the dashboard can read it."""

    run: str
    """the experiment's name"""
    experiment: str
    """its file, relative to the working directory"""
    overrides: tuple[str, ...]
    """all of the run's, the last of which is its absolute run directory"""
    run_dir: str
    commit: str
    """of the code, in words"""
    variables: tuple[str, ...]
    """names of those that the job was handed"""
    more_variables: tuple[str, ...]
    """those among them that the user has named"""

    def as_metadata(self) -> dict[str, str]:
        """Return the notes as Ray keeps them: texts by name."""
        return {
            f"{_PREFIX}{name}": value if isinstance(value, str) else json.dumps(value)
            for name in self.__slots__
            for value in (getattr(self, name),)
        }

    @classmethod
    def of_metadata(cls, metadata: dict[str, str] | None) -> JobNotes | None:
        """Return the notes in a job's metadata; None if the job is none of this project's."""
        found = {
            name.removeprefix(_PREFIX): text for name, text in (metadata or {}).items() if name.startswith(_PREFIX)
        }
        try:
            lists = {
                name: tuple(map(str, json.loads(found[name]))) for name in ("overrides", "variables", "more_variables")
            }
            texts = {name: found[name] for name in ("run", "experiment", "run_dir", "commit")}
        except (KeyError, ValueError, TypeError):
            return None
        return cls(**texts, **lists)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a run. A resumed run has several."""

    id: str
    state: str
    """pending, running, succeeded, failed or stopped"""
    started_s: float | None
    """since the epoch, as `ended_s`"""
    ended_s: float | None
    notes: JobNotes

    @property
    def active(self) -> bool:
        """Whether the job has not ended."""
        return self.state in ("pending", "running")

    @classmethod
    def of(cls, details: JobDetails) -> Job | None:
        """Return what Ray says of a job; None if the job is none of this project's."""
        notes = JobNotes.of_metadata(details.metadata)
        if notes is None or details.submission_id is None:
            return None
        started_s, ended_s = (at / 1000 if at else None for at in (details.start_time, details.end_time))
        return cls(details.submission_id, details.status.value.lower(), started_s, ended_s, notes)


def jobs_of(client: JobSubmissionClient) -> list[Job]:
    """Return this project's jobs on the cluster, the newest first."""
    found = [job for details in client.list_jobs() if (job := Job.of(details)) is not None]
    return sorted(found, key=lambda job: job.started_s or float("inf"), reverse=True)


def newest_of_each_run(jobs: Sequence[Job]) -> list[Job]:
    """Return the newest job of each run directory. `jobs` are sorted, the newest first."""
    newest: dict[str, Job] = {}
    for job in jobs:
        newest.setdefault(job.notes.run_dir, job)
    return list(newest.values())


def found(jobs: Sequence[Job], run: str) -> Job:
    """Return the newest job of the run called `run`, or the job with this id. Raises `UnknownRunError`."""
    for job in jobs:
        if run in (job.notes.run, job.id):
            return job
    known = list(dict.fromkeys(job.notes.run for job in jobs))
    there = f"it has {', '.join(known)}" if known else "nothing was submitted to it with `relayllm submit`"
    raise UnknownRunError(f"the cluster has no run called {run}: {there}")


def local_run_directory(job: Job) -> Path | None:
    """Return the run directory if it can be read from here and is that run's; else None."""
    from pipelines.experiment import yaml_values

    path = Path(job.notes.run_dir)
    try:
        settings = yaml_values.read((path / "experiment.yaml").read_bytes())
    except (OSError, ValueError):
        return None
    return path if isinstance(settings, dict) and settings.get("name") == job.notes.run else None
