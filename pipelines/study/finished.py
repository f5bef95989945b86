"""Which runs of a study are finished: a note in the run's directory, for the stages that it finished with."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.run_directory import write_atomically
from pipelines.stage_keys import stage_keys
from pipelines.study.plan import Study

NOTE = "finished.json"


def mark_finished(study: Study, run: str, seconds: float) -> None:
    """Record that the run has done all of its stages, and how long its last process took."""
    note = {"seconds": round(seconds, 1), "stages": stage_keys(study.runs[run].experiment)}
    write_atomically(_note(study, run), (json.dumps(note, indent=2) + "\n").encode())


def seconds_if_finished(study: Study, run: str) -> float | None:
    """Return how long the run took, or None if it is not finished.

    It is not if its stages have changed since in what they depend on, or if answers that the study compares are gone.
    """
    directory = study.runs[run].directory
    if not all((directory / "stages" / stage / "done.json").exists() for stage in study.stages_of(run)):
        return None
    try:
        note = json.loads(_note(study, run).read_bytes())
        same, seconds = note["stages"] == stage_keys(study.runs[run].experiment), float(note["seconds"])
    except (OSError, ValueError, TypeError, KeyError):
        return None  # the run itself knows which of its stages are left
    return seconds if same else None


def _note(study: Study, run: str) -> Path:
    return study.runs[run].directory / NOTE
