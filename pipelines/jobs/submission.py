"""Submits a run as a job: checked here, uploaded, and started on the cluster."""

from __future__ import annotations

import os
import secrets
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from cluster import job_variables
from cluster.job_client import STOP_WAIT_VARIABLE
from cluster.upload import Upload, chosen
from pipelines.experiment.opening import opened
from pipelines.jobs.checks import check_for_cluster
from pipelines.jobs.commit import commit_of
from pipelines.jobs.job import JobNotes, jobs_of
from pipelines.jobs.variables import missing_keys, needed, secret_in
from pipelines.wording import counted

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

STOP_WAIT_S = 120
"""how long a stopped run may take to end before Ray kills it"""

_RUN_DIR = "run_dir="


class SubmissionError(ValueError):
    """The run cannot be submitted as asked. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A run that is ready to be submitted."""

    notes: JobNotes
    upload: Upload
    values: dict[str, str]
    """environment variables that the job is handed"""
    remarks: tuple[str, ...]
    """lines for the user, on what is not as it may be expected"""

    @property
    def command(self) -> list[str]:
        """The command of the run."""
        return ["python", "-m", "pipelines", "run", self.notes.experiment, *self.notes.overrides]

    def described(self) -> list[str]:
        """Return what is submitted, in lines for a terminal."""
        names = ", ".join(self.notes.variables) or "none"
        lines = [
            f"experiment  {self.notes.experiment}, checked; the code is {self.notes.commit}",
            f"upload      {counted(len(self.upload.sizes), 'file')}, {decimal(self.upload.size_bytes)} before packing",
            f"variables   {names}" + ("; their values are in no job info" if self.values else ""),
        ]
        if self.upload.left_out:
            lines.insert(2, f"left out    {', '.join(self.upload.left_out)}")
        return [*lines, *self.remarks]


def prepared(file: Path, overrides: Sequence[str], environ: Mapping[str, str], more: Sequence[str] = ()) -> Submission:
    """Return the run in `file`, fully checked, with what has to be uploaded of the working directory.

    `more` are names of variables that the user wants to be handed on. Raises `ConfigError`, `DataError`, `UploadError` or
    `SubmissionError`.
    """
    if absent := [name for name in more if not environ.get(name)]:
        raise SubmissionError(f"--env {absent[0]}: is not set here: export it first")
    experiment = opened(file, overrides)
    folder = Path.cwd()
    upload = chosen(folder)
    check_for_cluster(experiment, file, upload)
    values = needed(experiment, environ, more)
    own = [override for override in overrides if not override.startswith(_RUN_DIR)]
    notes = JobNotes(
        run=experiment.name,
        experiment=file.resolve().relative_to(folder.resolve()).as_posix(),
        overrides=(*own, f"{_RUN_DIR}{experiment.place}"),
        run_dir=experiment.place,
        commit=str(commit_of(folder)),
        variables=tuple(values),
        more_variables=tuple(more),
    )
    if name := secret_in("\n".join([notes.experiment, *notes.overrides]), values):
        raise SubmissionError(
            f"the value of {name} stands in the command, which everybody who sees the dashboard can read: leave it out; the job "
            "gets the variable"
        )
    remarks = [
        f"note        {name} is not set here: the cluster's own environment has to have it"
        for name in missing_keys(experiment, environ)
    ]
    return Submission(notes, upload, values, tuple(remarks))


def submit(client: JobSubmissionClient, submission: Submission, say: Callable[[str], None]) -> str:
    """Upload and start the run, and return the job's id. Raises `SubmissionError` if the run is active already."""
    notes = submission.notes
    for job in jobs_of(client):
        if job.active and (job.notes.run == notes.run or job.notes.run_dir == notes.run_dir):
            raise SubmissionError(
                f"{job.notes.run} is {job.state} already, as job {job.id} in {job.notes.run_dir}: stop it with relayllm stop "
                f"{job.notes.run}, or give this run another name and run_dir: name=<other> run_dir=<other>"
            )
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "upload.zip"
        packed_bytes = submission.upload.pack(package)
        say(f"uploading {decimal(packed_bytes)}")
        command = submission.command
        if submission.values:
            command = job_variables.entrypoint(job_variables.leave(client, submission.values), command)
        return client.submit_job(
            entrypoint=shlex.join(command),
            submission_id=f"{notes.run}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}",
            runtime_env={"working_dir": os.fspath(package), "env_vars": {STOP_WAIT_VARIABLE: str(STOP_WAIT_S)}},
            metadata=notes.as_metadata(),
        )
