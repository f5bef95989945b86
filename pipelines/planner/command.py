"""The command `relayllm plan`."""

from __future__ import annotations

from pathlib import Path

import click

_RUN = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("experiment", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[key.sub=value]...")
@click.option("--gpus", type=click.IntRange(3, 100_000), help="How many GPUs to divide.")
@click.option("--gpu", type=click.Choice(["h100", "h200", "a100", "l40s"]), help="Their kind.")
@click.option(
    "--from", "run", type=_RUN, help="A finished run, whose answers say how long answers are and where they call."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def plan(
    experiment: Path, overrides: tuple[str, ...], gpus: int | None, gpu: str | None, run: Path | None, as_json: bool
) -> int:
    """Predict how long a step takes, what it waits for, and how to divide GPUs between rollout, teacher and learner.

    Nothing is run: a simulation of a few steps takes its rates from the data sheet of --gpu. Without --gpus and --gpu, it takes
    them from the measured run in --from, for the actors that the experiment has.

    \b
    relayllm plan experiments/gpu.yaml --gpus 64 --gpu h200
    relayllm plan experiments/demo.yaml --from runs/demo grpo.async_depth=1
    """
    from rich.console import Console

    from pipelines.experiment.opening import opened
    from pipelines.planner.plan import as_mapping, planned
    from pipelines.planner.shown import show

    if (gpus is None) != (gpu is None):
        raise click.UsageError("--gpus and --gpu belong together: how many, and of which kind")
    if gpu is None and run is None:
        raise click.UsageError("give --gpus and --gpu for rates of a data sheet, or --from for those of a measured run")
    found = planned(opened(experiment, overrides), gpus, gpu, run)
    if as_json:
        import json

        click.echo(json.dumps(as_mapping(found), indent=2))
    else:
        show(found, Console())
    return 0
