"""Follows a job in the terminal, and says how it ended. Ctrl-C ends the following and not the job."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cluster.job_client import follow
from pipelines.jobs.job import Job

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

STATUSES = {"succeeded": 0, "failed": 1, "stopped": 3}
"""exit status of a command that waits for a job, by the job's last state"""
NO_LONGER_FOLLOWED = 130

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def follow_to_the_end(client: JobSubmissionClient, job: Job, again: str) -> int:
    """Print the job's log until the job ends, and return the exit status. `again` ends the commands that are proposed."""
    run = job.notes.run
    try:
        with _own_signals():
            state = follow(client, job.id, lambda text: click.echo(text, nl=False)).value.lower()
    except KeyboardInterrupt:
        click.echo(f"\nno longer following; {run} goes on. To follow it: relayllm logs {run} --follow{again}", err=True)
        click.echo(f"to stop it: relayllm stop {run}{again}", err=True)
        return NO_LONGER_FOLLOWED
    click.echo(f"{run}: {state}, as job {job.id}; run directory {job.notes.run_dir}", err=True)
    if state != "succeeded":
        click.echo(f"to go on: relayllm resume {run}{again}", err=True)
    return STATUSES[state]


@contextmanager
def _own_signals() -> Iterator[None]:
    """Let signals end the block alone. The handlers of the process would speak of a run that ends."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
