"""Stops a job in order, and says what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cluster.job_client import stop
from pipelines.jobs.job import Job
from pipelines.jobs.shown import reached
from pipelines.jobs.submission import STOP_WAIT_S

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient


def stop_in_order(client: JobSubmissionClient, job: Job, again: str) -> int:
    """Stop the job, wait for its end, and return the exit status: 1 if Ray had to kill it."""
    run = job.notes.run
    if not job.active:
        click.echo(f"{run}: {job.state} already, as job {job.id}")
        return 0
    click.echo(f"stopping {run}, which may take up to {STOP_WAIT_S} s to end in order")
    status, killed = stop(client, job.id, STOP_WAIT_S)
    state = status.value.lower()
    if state != "stopped":
        click.echo(f"{run}: {state} before it was stopped; run directory {job.notes.run_dir}")
        return 0
    place = reached(job)
    click.echo(f"{run}: stopped" + (f", killed by Ray, since it did not end within {STOP_WAIT_S} s" if killed else ""))
    click.echo(f"kept: all finished stages and the newest checkpoint, in {job.notes.run_dir}")
    if place is not None:
        click.echo(f"last logged: {place[0]} {place[1]}")
    click.echo(f"to go on: relayllm resume {run}{again}")
    return 1 if killed else 0
