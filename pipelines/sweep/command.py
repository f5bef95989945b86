"""The command `relayllm sweep`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cluster.session import VERBOSE

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.argument("values", nargs=-1, metavar="[key.sub=value]...")
@click.option("--dry-run", is_flag=True, help="Check the file and every value in it, print the plan, and stop.")
@click.option("--report-only", is_flag=True, help="Run nothing; write the page on the trials that exist.")
@click.option(
    "--at-a-time", type=click.IntRange(min=1), metavar="N", help="Trials at a time; as many as fit if left out."
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the sweep is written; runs/sweeps/<name> if left out.",
)
@click.option("--trial", is_flag=True, help="Run one trial with these values: what an agent of W&B calls.")
@click.option(
    "--job", metavar="ADDRESS", help="With --trial: run it as a Ray job, at http://127.0.0.1:8265 for example."
)
@click.option(
    "-v", "--verbose", is_flag=True, help="Also show the logs of Ray, vLLM and the actors in each trial's log."
)
def sweep(
    file: Path,
    values: tuple[str, ...],
    dry_run: bool,
    report_only: bool,
    at_a_time: int | None,
    directory: Path | None,
    trial: bool,
    job: str | None,
    verbose: bool,
) -> int:
    """Run the trials of a sweep, and compare them. The file is one that `wandb sweep` takes too.

    The same command goes on with a sweep that was stopped, and tries failed trials again.

    \b
    relayllm sweep experiments/sweeps/demo.yaml --dry-run
    relayllm sweep experiments/sweeps/demo.yaml --at-a-time 2
    relayllm sweep experiments/sweeps/demo.yaml --report-only
    """
    if sum((dry_run, report_only, trial)) > 1:
        raise click.UsageError("--dry-run, --report-only and --trial exclude each other: give one of them")
    if not trial and (values or job):
        given = " ".join(values) or "--job"
        raise click.UsageError(f"{given}: belongs to --trial; a sweep takes its values from {file}")
    from pipelines.experiment.file_kinds import SWEEP, require_kind
    from pipelines.sweep.plan import load_sweep

    require_kind(file, SWEEP)
    loaded = load_sweep(file, directory)
    if dry_run:
        from pipelines.sweep.description import described

        click.echo(described(loaded))
        return 0
    if verbose:
        os.environ[VERBOSE] = "1"  # the trials inherit it
    if trial:
        from pipelines.sweep.agent import agents_trial, become

        found = agents_trial(loaded, values, os.environ)
        if job is not None:
            from pipelines.sweep.job import run_job

            return run_job(loaded.settings.program, found, job, os.environ)
        become(loaded, found)
    from pipelines.sweep.outcome import SweepError, write_outcome
    from pipelines.terminal.logs import begin_logging

    begin_logging()
    try:
        if not report_only:
            from pipelines.sweep.runner import run_trials

            run_trials(loaded, at_a_time)
        click.echo(f"report: {write_outcome(loaded)}")
    except SweepError as error:
        click.echo(error, err=True)
        return 1
    return 0
