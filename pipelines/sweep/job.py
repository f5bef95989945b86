"""A trial as a Ray job: submitted as `relayllm submit` does it, followed, and stopped in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from cluster.job_client import connect, follow, refusals_in_words, stop
from pipelines.jobs.command import bad_input
from pipelines.jobs.submission import STOP_WAIT_S, prepared, submit
from pipelines.sweep.plan import Trial


def run_job(program: Path, trial: Trial, address: str, environ: Mapping[str, str]) -> int:
    """Submit the trial of an experiment, print its job's log as it comes, and return 0 if the job succeeded, else 1.

    If this process is told to stop, the job is stopped first. Raises `click.UsageError` if the trial cannot be submitted.
    """
    with bad_input():
        submission = prepared(program, trial.overrides, environ)
    client = connect(address)
    with refusals_in_words(address), bad_input():
        job = submit(client, submission, click.echo)
        click.echo(f"job {job}")
        try:
            status = follow(client, job, lambda text: click.echo(text, nl=False))
        except BaseException:
            stop(client, job, STOP_WAIT_S)
            raise
    return 0 if status.value == "SUCCEEDED" else 1
