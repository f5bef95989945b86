"""The commands of `relayllm`. Nothing heavy is loaded before a command needs it."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import click
from pydantic import BaseModel

from cluster.session import VERBOSE
from pipelines.chat.command import chat
from pipelines.doctor.command import doctor
from pipelines.experiment.arguments import FILE, RUN_PLACE
from pipelines.experiment.arguments import overrides as overrides_argument
from pipelines.experiment.file_kinds import STUDY, require_kind
from pipelines.experiment.loading import json_schema, resolved_yaml
from pipelines.experiment.model_paths import hub_names, server_notes
from pipelines.experiment.opening import opened
from pipelines.experiment.schema import Experiment
from pipelines.generation.command import generate
from pipelines.jobs.command import logs, resume, status, stop, submit
from pipelines.planner.command import plan
from pipelines.serving.command import serve
from pipelines.sweep.command import sweep
from pipelines.watch.command import top, watch

_COMPLETION = (
    'bash: eval "$(_RELAYLLM_COMPLETE=bash_source relayllm)"; zsh and fish: the same with zsh_source, fish_source'
)


_verbose = click.option("-v", "--verbose", is_flag=True, help="Also show the logs of Ray, vLLM and the actors.")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Shell completion: {_COMPLETION}.",
)
@click.version_option(package_name="relayllm-ray", prog_name="relayllm")
def relayllm() -> None:
    """Train, evaluate and serve RelayLLM students on Ray.

    \b
    relayllm run experiments/demo.yaml                   a whole run, from its data to its report
    relayllm run experiments/demo.yaml seed=1 --dry-run  its settings and resources; nothing is run
    relayllm report runs/demo                            the report of a run, also while it is running
    relayllm watch                                       all runs on a live page; relayllm top: in the terminal
    relayllm chat runs/demo                              a chat with its student
    relayllm generate runs/demo --input questions.jsonl --output answers.jsonl
    relayllm serve runs/demo                             its student with its teacher, behind OpenAI's interface
    relayllm doctor experiments/gpu.yaml                 what this machine lacks for a run
    relayllm submit experiments/demo.yaml run_dir=/shared/demo   the run, as a job of a Ray cluster
    """


relayllm.add_command(serve)


@relayllm.command()
@click.argument("experiment", type=FILE)
@overrides_argument
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check the file, local data, model folders and the run directory; print settings and resources, and stop.",
)
@_verbose
def run(experiment: Path, overrides: tuple[str, ...], dry_run: bool, verbose: bool) -> int:
    """Run an experiment, from filter to report. Finished stages are not repeated.

    Values after the file replace the file's values.

    \b
    relayllm run experiments/demo.yaml
    relayllm run experiments/demo.yaml name=no-bonus reward.independence_bonus=1 grpo.steps=50
    """
    loaded = opened(experiment, overrides)
    if dry_run:
        from cluster.placement import table
        from pipelines.data.sources import check_local_sources
        from pipelines.memory.fit import memory_here
        from pipelines.records.binding import what_a_run_would_do

        place = what_a_run_would_do(loaded)
        click.echo(resolved_yaml(loaded))
        resources = f"resources ({loaded.cluster.device.value}), as Ray reserves them\n{table(loaded.bundles())}"
        if later := loaded.later_workers():
            resources += f"\nand these, once the cluster has room for them\n{table(later)}"
        click.echo(textwrap.indent(f"{resources}\n{memory_here(loaded)}", "# "))
        for key, path in hub_names(loaded):
            click.echo(f"# {key} = {path!r} is no folder here, so it is taken as a name on the Hugging Face hub")
        for note in server_notes(loaded):
            click.echo(f"# {note}")
        check_local_sources(loaded.data, loaded.warmup.enabled)
        click.echo(f"# run directory: {place}")
        return 0
    _begin(verbose)
    from pipelines.driver import drive
    from pipelines.report.run.ending import show_ending

    report = drive(loaded)
    show_ending(report, experiment, overrides, url=loaded.url)
    return 0


@relayllm.command()
@click.argument("study", type=FILE)
@overrides_argument
@click.option("--dry-run", is_flag=True, help="Check all files, print every run's resources, and stop.")
@click.option("--report-only", is_flag=True, help="Run nothing; compare the results that exist.")
@_verbose
def study(study: Path, overrides: tuple[str, ...], dry_run: bool, report_only: bool, verbose: bool) -> int:
    """Run all unfinished runs of a study, and compare its systems.

    \b
    relayllm study experiments/tiny/study.yaml
    relayllm study experiments/tiny/study.yaml --report-only
    """
    if dry_run and report_only:
        raise click.UsageError("--dry-run and --report-only exclude each other: give one of them")
    from pipelines.study.plan import load_study

    require_kind(study, STUDY)
    loaded = load_study(study, list(overrides))
    if dry_run:
        from pipelines.study.description import described

        click.echo(described(loaded))
        return 0
    _begin(verbose)
    from pipelines.study.collect import StudyResultsError
    from pipelines.study.outcome import StudyError, run_study, write_outcome

    try:
        report = write_outcome(loaded) if report_only else run_study(loaded)
    except (StudyError, StudyResultsError) as error:
        click.echo(error, err=True)
        return 1
    click.echo(f"report: {report}")
    return 0


@relayllm.command()
@click.argument("of", type=click.Choice(["experiment", "study", "sweep", "server"]), default="experiment")
def schema(of: str) -> int:
    """Print the JSON schema of experiment, study, sweep or server files, for editors.

    \b
    relayllm schema > schema.json
    """
    from actors.serving.settings import ServerSettings
    from pipelines.study.settings import StudySettings
    from pipelines.sweep.settings import SweepSettings

    schemas: dict[str, type[BaseModel]] = {
        "experiment": Experiment,
        "study": StudySettings,
        "sweep": SweepSettings,
        "server": ServerSettings,
    }
    click.echo(json_schema(schemas[of]))
    return 0


@relayllm.command()
@RUN_PLACE
def report(run_dir: str) -> int:
    """Write the report.html of a run directory again. The run may still be going on.

    Of a run at a URL, the report is written beside a copy on this machine.

    \b
    relayllm report runs/demo
    """
    from cluster.store.copies import folder_of
    from pipelines.report.run.page import write_report

    click.echo(f"report: {write_report(folder_of(run_dir))}")
    return 0


@relayllm.command()
@RUN_PLACE
@click.option(
    "--to",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The folder to write; new, or an earlier export.",
)
def export(run_dir: str, to: Path) -> int:
    """Write the trained student of a run as a Hugging Face folder, with a model card that is filled from the run.

    \b
    relayllm export runs/demo --to exported/demo
    """
    from cluster.store.copies import folder_of
    from pipelines.export_card.finished import ExportError
    from pipelines.export_card.folder import export as write

    try:
        click.echo(f"exported: {write(folder_of(run_dir, models=True), to)}")
    except ExportError as error:
        click.echo(error, err=True)
        return 2
    return 0


relayllm.add_command(chat)
relayllm.add_command(generate)
for _command in (sweep, submit, status, logs, stop, resume, watch, top, doctor, plan):
    relayllm.add_command(_command)


def _begin(verbose: bool) -> None:
    from pipelines.terminal.logs import begin_logging

    if verbose:
        os.environ[VERBOSE] = "1"  # the runs of a study inherit it
    begin_logging()
