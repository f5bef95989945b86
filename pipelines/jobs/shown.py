"""Jobs as a person or a script sees them: how far a run is, a table of all, the facts of one."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.jobs.job import Job, local_run_directory
from pipelines.records.run_directory import RunDirectory, RunDirectoryError

_STYLES = {"running": "green", "pending": "yellow", "failed": "bold red", "stopped": "yellow"}
_PIPED_WIDTH = 250
_NOTHING = "–"


def reached(job: Job) -> tuple[str, int] | None:
    """Return the stage and step that the run has logged last; None if its directory cannot be read from here."""
    path = local_run_directory(job)
    if path is None:
        return None
    try:
        rows = RunDirectory(path).read_jsonl("metrics.jsonl")
    except (OSError, RunDirectoryError):
        return None
    stage, step = (rows[-1].get("stage"), rows[-1].get("step")) if rows else (None, None)
    return (stage, step) if isinstance(stage, str) and isinstance(step, int) else None


def stage_and_step(job: Job) -> str:
    """Return where the run is, as `grpo 12`; a dash if that cannot be read from here."""
    place = reached(job)
    return _NOTHING if place is None else f"{place[0]} {place[1]}"


def print_table(jobs: Sequence[Job]) -> None:
    """Print a row for each job. Nothing is cut off, also not in a pipe."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("run", "state", "stage, step", "since", "run directory", "job"):
        table.add_column(title, overflow="fold")
    for job in jobs:
        since = _clock(job.started_s if job.active else job.ended_s)
        state = Text(job.state, _STYLES.get(job.state, ""))
        table.add_row(job.notes.run, state, stage_and_step(job), since, Text(job.notes.run_dir), job.id)
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False).print(table)


def facts(job: Job) -> list[str]:
    """Return what is known of one job, in lines."""
    notes = job.notes
    named = {
        "run": notes.run,
        "state": job.state,
        "stage, step": stage_and_step(job),
        "started": _clock(job.started_s),
        "ended": _clock(job.ended_s),
        "run directory": notes.run_dir,
        "experiment": " ".join([notes.experiment, *notes.overrides]),
        "code": notes.commit,
        "variables": ", ".join(notes.variables) or "none",
        "job": job.id,
    }
    width = max(map(len, named))
    return [f"{name:{width}}  {value}" for name, value in named.items()]


def as_json(job: Job) -> dict[str, object]:
    """Return a job for scripts. Times are seconds since the epoch; stage and step are null if they cannot be read."""
    stage, step = reached(job) or (None, None)
    own = {"job": job.id, "state": job.state, "started_s": job.started_s, "ended_s": job.ended_s}
    return {**own, "stage": stage, "step": step, **asdict(job.notes)}


def _clock(time_s: float | None) -> str:
    return _NOTHING if time_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(time_s))
