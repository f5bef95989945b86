"""Which runs of a study are finished. A note in the run's directory names the stages that were finished, by their keys."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.files import write_atomically
from pipelines.experiment.stage_keys import stage_keys
from pipelines.experiment.stage_names import evaluated_steps, evaluation_stage, evaluation_within_grpo
from pipelines.records.run_directory import RunDirectory
from pipelines.study.plan import Study

NOTE = "finished.json"


def mark_finished(study: Study, run: str) -> None:
    """Record that the run has done all of its stages."""
    note = json.dumps(stage_keys(study.runs[run].experiment), indent=2) + "\n"
    write_atomically(_note(study, run), note.encode())


def is_finished(study: Study, run: str) -> bool:
    """Return whether the run has nothing left to do.

    A finished run has something to do again if a setting that a stage depends on has changed, or if a stage's results
    are gone.
    """
    experiment, directory = study.runs[run].experiment, study.runs[run].directory
    keys = stage_keys(experiment)
    # A run has no evaluations within GRPO if another run did its GRPO without them.
    within_grpo = {
        evaluation_stage(evaluation_within_grpo(step), policy)
        for step in evaluated_steps(experiment)
        for policy in experiment.evaluation.training
    }
    if not all(RunDirectory(directory).stage_done(stage) for stage in keys.keys() - within_grpo):
        return False
    try:
        return bool(json.loads(_note(study, run).read_bytes()) == keys)
    except (OSError, ValueError):
        return False  # the run itself knows which of its stages are left


def _note(study: Study, run: str) -> Path:
    return study.runs[run].directory / NOTE
