"""What a trial has done so far, read from its run directory while it goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from pipelines.experiment.stage_names import FINAL, GRPO
from pipelines.records.evaluations import EVALUATIONS, Evaluation
from pipelines.records.objective import WithinBudget, within_budget
from pipelines.records.run_directory import RunDirectory

_EVALUATION = TypeAdapter(Evaluation)
_TAIL_BYTES = 8192


def objectives(directory: Path, budget: float) -> tuple[tuple[WithinBudget, ...], WithinBudget | None]:
    """Return the objective of each evaluation within GRPO, in their order, and of the final one; None if that is to come."""
    rows = [_EVALUATION.validate_python(row) for row in RunDirectory(directory).read_jsonl(EVALUATIONS)]
    newest = {(row.name, row.policy, row.kind): row for row in rows}
    by_name: dict[str, list[Evaluation]] = {}
    for row in newest.values():
        by_name.setdefault(row.name, []).append(row)
    within = sorted((name for name in by_name if name.startswith(f"{GRPO}-")), key=lambda name: by_name[name][0].step)
    found = [objective for name in within if (objective := within_budget(by_name[name], budget))]
    return tuple(found), within_budget(by_name.get(FINAL, ()), budget)


def present_stage(directory: Path) -> str:
    """Return the stage that was logged last, with its step: `grpo 12`; empty before anything was logged."""
    lines = _tail(directory / "metrics.jsonl")
    try:
        row = json.loads(lines[-1])
        return f"{row['stage']} {row['step']}"
    except (IndexError, ValueError, KeyError, TypeError):
        return ""


def last_words(output: Path) -> str:
    """Return the last line of what a trial printed; empty if it printed nothing."""
    lines = [line.strip() for line in _tail(output) if line.strip()]
    return lines[-1][:300] if lines else ""


def _tail(path: Path) -> Sequence[str]:
    """Return the last complete lines of a file; none if it does not exist."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - _TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()
