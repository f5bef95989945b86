"""The command `relayllm doctor`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

_DEMO = Path(__file__).parents[2] / "experiments" / "demo.yaml"


@click.command()
@click.argument("experiment", required=False)
@click.argument("overrides", nargs=-1, metavar="[key.sub=value]...")
@click.option("--address", help="A Ray cluster to check; else cluster.address, RAY_ADDRESS, or this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def doctor(experiment: str | None, overrides: tuple[str, ...], address: str | None, as_json: bool) -> int:
    """Check whether this machine, or a Ray cluster, can do a run, and say what to fix.

    EXPERIMENT is a run's YAML file; without one, the demo is meant. The exit status is 1 if the run will fail, and 0 if all is
    fine or there are warnings alone.

    \b
    relayllm doctor
    relayllm doctor experiments/gpu.yaml rollout.workers=2
    relayllm doctor experiments/gpu.yaml --address 10.0.0.1:6379
    """
    from rich.console import Console

    from cluster.session import address_of
    from pipelines.doctor import shown
    from pipelines.doctor.checks import results
    from pipelines.doctor.children import end_children
    from pipelines.doctor.findings import Level
    from pipelines.doctor.joined import cluster_checks
    from pipelines.doctor.plan import local_checks, run_checks
    from pipelines.experiment.opening import opened
    from pipelines.terminal.interruption import ended_at_once

    if experiment is not None and "=" in experiment and not Path(experiment).exists():
        overrides = (experiment, *overrides)
        experiment = None
    file = Path(experiment) if experiment else _DEMO
    if not experiment and not file.is_file():
        raise click.UsageError(f"{file} did not come with this installation: give an experiment's file")
    loaded = opened(file, overrides)
    cluster = address_of(address or loaded.cluster.address)
    machines = cluster_checks(loaded, cluster) if cluster else local_checks(loaded)
    with ended_at_once(end_children):
        try:
            findings, hangs = results([*machines, *run_checks(loaded)])
        except BaseException:
            end_children()
            raise
    subject = f"{file.name} on {f'the cluster at {cluster}' if cluster else 'this machine'}"
    if as_json:
        click.echo(shown.as_json(findings, subject))
    else:
        shown.show(findings, subject, Console())
    status = 1 if shown.worst(findings) is Level.PROBLEM else 0
    if hangs:  # its thread would keep this process from ending
        end_children()
        sys.stdout.flush()
        os._exit(status)
    return status
