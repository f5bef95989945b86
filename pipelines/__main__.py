"""The command line: `python -m pipelines run experiment.yaml [key.sub=value …]`, and what else there is."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import textwrap
from pathlib import Path

from actors.learner.errors import LearnerRefusal
from actors.learner.kernels import KernelError
from cluster.errors import ClusterError
from pipelines.config import ConfigError, json_schema, load, resolved_yaml
from pipelines.data import DataError
from pipelines.experiment import Experiment
from pipelines.interruption import interruptible
from pipelines.run_directory import RunDirectoryError


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the process's exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S"
    )
    try:
        status: int = options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads the output, as `head` does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ConfigError, DataError, KernelError, LearnerRefusal, RunDirectoryError) as error:
        print(error, file=sys.stderr)
        return 2
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return status


def _run(options: argparse.Namespace) -> int:
    experiment = load(options.experiment, options.overrides, Experiment)
    if options.dry_run:
        from cluster.placement import table
        from pipelines.memory.fit import memory_here

        print(resolved_yaml(experiment))
        resources = (
            f"resources ({experiment.cluster.device.value}), as Ray reserves them\n{table(experiment.bundles())}"
        )
        print(textwrap.indent(resources, "# "))
        print(textwrap.indent(memory_here(experiment), "# "))
        return 0
    from pipelines.driver import drive

    report = drive(experiment)
    print(f"report: {report}")
    return 0


def _study(options: argparse.Namespace) -> int:
    from pipelines.study.plan import load_study

    study = load_study(options.study, options.overrides)
    if options.dry_run:
        from pipelines.study.description import described

        print(described(study))
        return 0
    from pipelines.study.collect import StudyResultsError
    from pipelines.study.outcome import StudyError, run_study, write_outcome

    try:
        report = write_outcome(study) if options.report_only else run_study(study)
    except (StudyError, StudyResultsError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"report: {report}")
    return 0


def _schema(options: argparse.Namespace) -> int:
    from pipelines.study.settings import StudySettings

    print(json_schema(StudySettings if options.of == "study" else Experiment))
    return 0


def _report(options: argparse.Namespace) -> int:
    from pipelines.report.page import write_report

    print(f"report: {write_report(options.run_dir)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines", description="Train and evaluate RelayLLM students on Ray."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    run = commands.add_parser("run", help="do what is left of an experiment's run, from filter to report")
    run.add_argument("experiment", type=Path, help="the experiment's YAML file")
    run.add_argument("overrides", nargs="*", metavar="key.sub=value", help="replace values of the file")
    run.add_argument("--dry-run", action="store_true", help="print the resolved experiment and its resources, and stop")
    run.set_defaults(command=_run)
    study = commands.add_parser("study", help="do what is left of all runs of a study, and compare its systems")
    study.add_argument("study", type=Path, help="the study's YAML file")
    study.add_argument("overrides", nargs="*", metavar="key.sub=value", help="replace values of the file")
    instead = study.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run", action="store_true", help="check all files, print every run's resources, and stop"
    )
    instead.add_argument("--report-only", action="store_true", help="run nothing, compare what is there")
    study.set_defaults(command=_study)
    schema = commands.add_parser("schema", help="print the JSON schema of experiment or study files, for editors")
    schema.add_argument("of", nargs="?", choices=("experiment", "study"), default="experiment")
    schema.set_defaults(command=_schema)
    report = commands.add_parser("report", help="write report.html of a run directory anew")
    report.add_argument("run_dir", type=Path)
    report.set_defaults(command=_report)
    return parser


if __name__ == "__main__":
    sys.exit(interruptible(main))
