"""Which runs of a study are finished: a note in the run's directory, for the stages that it finished with."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.run_directory import write_atomically
from pipelines.stage_keys import stage_keys
from pipelines.study.plan import Study

NOTE = "finished.json"


def mark_finished(study: Study, run: str) -> None:
    """Record that the run has done all of its stages."""
    note = json.dumps(stage_keys(study.runs[run].experiment), indent=2) + "\n"
    write_atomically(_note(study, run), note.encode())


def is_finished(study: Study, run: str) -> bool:
    """Return whether nothing is left of the run.

    Something is if its stages have changed since in what they depend on, or if answers that the study compares are gone.
    """
    directory = study.runs[run].directory
    if not all((directory / "stages" / stage / "done.json").exists() for stage in study.stages_of(run)):
        return False
    try:
        return bool(json.loads(_note(study, run).read_bytes()) == stage_keys(study.runs[run].experiment))
    except (OSError, ValueError):
        return False  # the run itself knows which of its stages are left


def _note(study: Study, run: str) -> Path:
    return study.runs[run].directory / NOTE
