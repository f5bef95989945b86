"""The commands `relayllm submit`, `status`, `logs`, `stop` and `resume`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.experiment.arguments import FILE, overrides

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from pipelines.jobs.submission import Submission

_address = click.option(
    "--address",
    metavar="URL",
    help="The cluster's dashboard, as http://127.0.0.1:8265; if not given RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or the cluster "
    "of this machine.",
)
_run = click.argument("run", metavar="RUN")
_follow = click.option("--follow", is_flag=True, help="Print the run's log until it ends. Ctrl-C leaves the run alone.")


@click.command()
@click.argument("experiment", type=FILE)
@overrides
@_address
@click.option(
    "--env", "more", multiple=True, metavar="NAME", help="Another environment variable for the job; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Check everything, print what would be uploaded, and stop.")
@_follow
def submit(
    experiment: Path,
    overrides: tuple[str, ...],
    address: str | None,
    more: tuple[str, ...],
    dry_run: bool,
    follow: bool,
) -> int:
    """Run an experiment as a job of a Ray cluster.

    The experiment is checked here first. The working directory is uploaded without environments, caches, results and models.
    The job gets the variables that the run needs, and no job info shows their values. `run_dir` is an absolute path on a disk
    of the cluster.

    Exit status: 0 submitted, or with --follow succeeded; 1 failed, or no cluster; 2 bad input; 3 stopped; 130 Ctrl-C.

    \b
    relayllm submit experiments/demo.yaml run_dir=/shared/runs/demo --address http://127.0.0.1:8265
    relayllm submit experiments/demo.yaml run_dir=/shared/runs/demo grpo.steps=50 --follow
    """
    from pipelines.jobs.submission import prepared

    with bad_input():
        submission = prepared(experiment, overrides, os.environ, more)
    for line in submission.described():
        click.echo(line)
    return 0 if dry_run else _submitted(submission, address, follow)


@click.command()
@click.argument("run", metavar="[RUN]", required=False)
@_address
@click.option("--all", "every", is_flag=True, help="Also the earlier jobs of resumed runs.")
@click.option("--json", "in_json", is_flag=True, help="For scripts.")
def status(run: str | None, address: str | None, every: bool, in_json: bool) -> int:
    """Show the runs that were submitted to a cluster, or all that is known of one.

    Stage and step are there if the run directory can be read from this machine.

    \b
    relayllm status
    relayllm status demo --address http://127.0.0.1:8265
    """
    from pipelines.jobs import shown
    from pipelines.jobs.job import found, jobs_of, newest_of_each_run

    with _cluster(address) as client, bad_input():
        jobs = jobs_of(client)
        if run is not None:
            jobs = [found(jobs, run)]
    if not every:
        jobs = newest_of_each_run(jobs)
    if in_json:
        click.echo(json.dumps([shown.as_json(job) for job in jobs], indent=2))
    elif run is not None:
        for line in shown.facts(jobs[0]):
            click.echo(line)
    elif jobs:
        shown.print_table(jobs)
    else:
        click.echo("nothing was submitted to this cluster with `relayllm submit`")
    return 0


@click.command()
@_run
@_address
@_follow
def logs(run: str, address: str | None, follow: bool) -> int:
    """Print the log of a submitted run.

    Exit status with --follow: 0 succeeded, 1 failed, 3 stopped, 130 Ctrl-C.

    \b
    relayllm logs demo --follow
    """
    from pipelines.jobs.following import follow_to_the_end
    from pipelines.jobs.job import found, jobs_of

    with _cluster(address) as client, bad_input():
        job = found(jobs_of(client), run)
        if follow:
            return follow_to_the_end(client, job, _again(address))
        click.echo(client.get_job_logs(job.id), nl=False)
    return 0


@click.command()
@_run
@_address
def stop(run: str, address: str | None) -> int:
    """Stop a submitted run in order, and wait until it has ended. What is finished is kept.

    Exit status: 0 ended in order, or had ended before; 1 Ray had to kill it, or no cluster; 2 no such run.

    \b
    relayllm stop demo
    """
    from pipelines.jobs.job import found, jobs_of
    from pipelines.jobs.stopping import stop_in_order

    with _cluster(address) as client, bad_input():
        return stop_in_order(client, found(jobs_of(client), run), _again(address))


@click.command()
@_run
@_address
@_follow
def resume(run: str, address: str | None, follow: bool) -> int:
    """Submit a stopped or failed run again, with the same settings and run directory. Finished stages are not repeated.

    The working directory is uploaded as it is now. Go to the one that the run was submitted from.

    Exit status: as that of submit.

    \b
    relayllm resume demo --follow
    """
    from pipelines.jobs.job import found, jobs_of
    from pipelines.jobs.submission import SubmissionError, prepared

    with _cluster(address) as client, bad_input():
        job = found(jobs_of(client), run)
        if job.active:
            raise SubmissionError(
                f"{run} is {job.state}: there is nothing to resume. relayllm logs {run} --follow shows it"
            )
    notes = job.notes
    with bad_input():
        submission = prepared(Path(notes.experiment), notes.overrides, os.environ, notes.more_variables)
    for line in submission.described():
        click.echo(line)
    if submission.notes.commit != notes.commit:
        click.echo(f"note        the code was {notes.commit} when {run} was submitted")
    return _submitted(submission, address, follow)


def _submitted(submission: Submission, address: str | None, follow: bool) -> int:
    """Submit, say what to do next, and follow the job if that is asked for. Return the exit status."""
    from pipelines.jobs.following import follow_to_the_end
    from pipelines.jobs.job import found, jobs_of
    from pipelines.jobs.submission import submit as submit_to

    run, again = submission.notes.run, _again(address)
    with _cluster(address) as client, bad_input():
        job_id = submit_to(client, submission, click.echo)
        click.echo(f"submitted   {run} as job {job_id}; run directory {submission.notes.run_dir}")
        if follow:
            return follow_to_the_end(client, found(jobs_of(client), job_id), again)
    click.echo(f"its log: relayllm logs {run} --follow{again}; to stop it: relayllm stop {run}{again}")
    return 0


def _again(address: str | None) -> str:
    """Return the end of the commands that are proposed: they are for the same cluster."""
    return f" --address {address}" if address else ""


@contextmanager
def _cluster(address: str | None) -> Iterator[JobSubmissionClient]:
    from cluster.job_client import connect, refusals_in_words
    from pipelines.terminal.logs import begin_logging

    begin_logging()
    client = connect(address)
    with refusals_in_words(address):
        yield client


@contextmanager
def bad_input() -> Iterator[None]:
    """End the command with one line and status 2 if the block finds that what was asked for makes no sense."""
    from cluster.upload import UploadError
    from pipelines.jobs.job import UnknownRunError
    from pipelines.jobs.submission import SubmissionError

    try:
        yield
    except (SubmissionError, UnknownRunError, UploadError) as error:
        raise click.UsageError(str(error)) from None
