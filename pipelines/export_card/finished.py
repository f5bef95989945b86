"""Finds what a run ended with: its settings, its trained student, and the results of its evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_names import GRPO, WARMUP
from pipelines.records.run_directory import RunDirectory
from pipelines.report.run.reading import RunRecords, read_run
from pipelines.run import MODEL

_NEEDED = ("config.json", "tokenizer_config.json", "*.safetensors")


class ExportError(RuntimeError):
    """A run cannot be exported as asked. The message says why."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run whose student is trained."""

    experiment: Experiment
    records: RunRecords
    student: Path
    """the folder of the trained student"""
    stage: str
    """the last training stage"""


def finished_run(directory: Path) -> FinishedRun:
    """Return the run in `directory`.

    Raises `ExportError` if its student is not trained, and `RunReadError` or `ConfigError` if its files cannot be read.
    """
    run = RunDirectory(directory)
    if not run.experiment.is_file():
        raise ExportError(
            f"{directory} should be the folder of a run, such as runs/demo, and has no {run.experiment.name}"
        )
    experiment = load(run.experiment, [], Experiment)
    if not experiment.trains:
        raise ExportError(f"{directory}: the run trains no student: warmup.enabled and grpo.enabled are false")
    stage = GRPO if experiment.grpo.enabled else WARMUP
    if not run.stage_done(stage):
        raise ExportError(f"{directory}: the stage {stage} should be done, and is not: finish the run first")
    student = (directory / "stages" / stage / MODEL).resolve()
    missing = [pattern for pattern in _NEEDED if not any(student.glob(pattern))]
    if missing:
        raise ExportError(f"{student} should be the trained student, and has no {' and no '.join(missing)}")
    return FinishedRun(experiment, read_run(directory), student, stage)
