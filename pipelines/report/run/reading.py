"""Reads a run directory (configuration, metrics, evaluations, traces) into typed records."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from pipelines.experiment import yaml_values
from pipelines.experiment.alarms import ALARMS, AlarmEvent
from pipelines.experiment.stage_names import GRPO, WARMUP, PolicyName
from pipelines.records.evaluations import ALL, Evaluation
from pipelines.records.traces import Trace
from pipelines.report.kinds import KIND_LABELS
from pipelines.report.run.bounds import MetricRow, shown_evaluation, shown_event, shown_metrics

POLICIES: tuple[PolicyName, ...] = ("student", "teacher", "relay")

_MOST_REMARKS = 20

_Record = TypeVar("_Record")


class RunReadError(Exception):
    """A run directory that cannot be read; the message names the file and what is wrong."""


@dataclass(frozen=True)
class RunRecords:
    """All that a run wrote to disk. Of repeated records, the last one counts."""

    directory: Path
    name: str
    seed: str | None
    configuration: str | None
    """the text of experiment.yaml, None if there is none"""
    trains: bool
    """whether experiment.yaml has a warm-up or GRPO; true if that is not known"""
    rows: tuple[MetricRow, ...]
    """by stage in order of appearance, then by step"""
    evaluations: tuple[Evaluation, ...]
    """by step, then in order of appearance"""
    traces: tuple[Trace, ...]
    alarms: tuple[AlarmEvent, ...]
    """alarms that began, went on and ended, in order"""
    remarks: tuple[str, ...]
    """faults of the files that did not stop the reading, one sentence each"""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of problem that were evaluated: chain arithmetic's in their order, then others by appearance, `all` last."""
        seen = list(dict.fromkeys(evaluation.kind for evaluation in self.evaluations))
        first = [kind for kind in KIND_LABELS if kind in seen and kind != ALL]
        return (*first, *(kind for kind in seen if kind not in KIND_LABELS), *([ALL] if ALL in seen else []))

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.stage for row in self.rows))

    @property
    def warmed_up(self) -> bool:
        """Whether the run had a warm-up, by what it logged."""
        return WARMUP in self.stages or any(evaluation.name == WARMUP for evaluation in self.evaluations)

    @property
    def duration_s(self) -> float:
        return max((row.time_s for row in self.rows), default=0.0)

    @property
    def steps_done(self) -> int:
        """The last GRPO step that was logged or evaluated."""
        logged = [row.step for row in self.rows if row.stage == GRPO]
        return max([*logged, *(evaluation.step for evaluation in self.evaluations)], default=0)

    def series(self, metric: str, stage: str = GRPO) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return steps [N] and finite values [N] of a metric; both are empty if the stage never logged it."""
        points = [(row.step, row.metrics.get(metric)) for row in self.rows if row.stage == stage]
        kept = [(step, value) for step, value in points if value is not None and np.isfinite(value)]
        return np.asarray([s for s, _ in kept], np.int64), np.asarray([v for _, v in kept], np.float64)

    def evaluated(self, policy: PolicyName, kind: str) -> tuple[Evaluation, ...]:
        """Return the evaluations of one policy on one kind, over training."""
        return tuple(e for e in self.evaluations if e.policy == policy and e.kind == kind)


def oracle_of(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """Return the last evaluation with the oracle's numbers, None if there is none."""
    return next((e for e in reversed(evaluations) if e.oracle_call_ratio is not None), None)


def read_run(directory: Path) -> RunRecords:
    """Return the run in `directory`. Raises `RunReadError` if metrics.jsonl is missing or a record breaks its format."""
    if not (directory / "metrics.jsonl").is_file():
        if (directory / "experiment.yaml").is_file():
            raise RunReadError(f"{directory} has logged nothing yet: try again when its first stage has logged a step")
        raise RunReadError(f"{directory} is not a run directory: {directory / 'metrics.jsonl'} is missing")
    remarks: list[str] = []
    rows = _merged(read_records(directory / "metrics.jsonl", MetricRow, remarks, shown_metrics))
    stages = {stage: i for i, stage in enumerate(dict.fromkeys(stage for stage, _ in rows))}
    evaluations = {
        (e.name, e.policy, e.kind): e
        for e in read_records(directory / "evaluations.jsonl", Evaluation, remarks, shown_evaluation)
    }
    alarms = tuple(read_records(directory / "alarms.jsonl", AlarmEvent, remarks, shown_event))
    traces = dict.fromkeys(read_records(directory / "traces.jsonl", Trace, remarks, shown_event))
    found = _configuration(directory, remarks)
    return RunRecords(
        directory=directory,
        name=found.name,
        seed=found.seed,
        configuration=found.text,
        trains=found.trains,
        rows=tuple(sorted(rows.values(), key=lambda row: (stages[row.stage], row.step))),
        evaluations=tuple(sorted(evaluations.values(), key=lambda evaluation: evaluation.step)),
        traces=tuple(traces),
        alarms=tuple(alarm for alarm in alarms if alarm.alarm in ALARMS),
        remarks=_first(remarks),
    )


def _first(remarks: Sequence[str]) -> tuple[str, ...]:
    if len(remarks) <= _MOST_REMARKS:
        return tuple(remarks)
    return (*remarks[:_MOST_REMARKS], f"The files have {len(remarks) - _MOST_REMARKS} further faults.")


def _merged(records: Iterable[MetricRow]) -> dict[tuple[str, int], MetricRow]:
    """Return one row for each step of each stage. If a metric was logged twice, the later value counts.

    Each evaluation of a step has its own record.
    """
    rows: dict[tuple[str, int], MetricRow] = {}
    for row in records:
        before = rows.get((row.stage, row.step))
        rows[row.stage, row.step] = replace(row, metrics=before.metrics | row.metrics) if before else row
    return rows


_ESCAPED_HALF = re.compile(r"\\ud[89a-f]", re.IGNORECASE)
"""an escape of half of a character, or of one of the two halves of a whole one"""


def read_records(
    path: Path, kind: type[_Record], remarks: list[str], shown: Callable[[_Record], tuple[_Record | None, str]]
) -> Iterator[_Record]:
    """Yield the records of a JSON-lines file; none if it is missing. A line that a crash cut short is skipped.

    `shown` returns what can be shown of a record, and as text what cannot, which becomes a remark.
    Raises `RunReadError` if a record breaks its format.
    """
    if not path.is_file():
        return
    adapter = TypeAdapter(kind)
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            if _ESCAPED_HALF.search(line):  # no page could be written with it
                values = json.loads(json.dumps(values, ensure_ascii=False).encode(errors="replace"))
        except (ValueError, RecursionError):  # also a number of thousands of digits, and lists in lists without end
            if number < len(lines):
                remarks.append(f"{path.name} line {number} is not JSON (a write that was cut off) and is skipped.")
            continue
        try:
            record, left_out = shown(adapter.validate_python(values))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"]) or "record"
            raise RunReadError(f"{path} line {number}, {key}: {first['msg']}; got {first['input']!r:.80}") from error
        if left_out:
            remarks.append(f"{path.name} line {number}: {left_out}. It is left out.")
        if record is not None:
            yield record


class _Configuration(NamedTuple):
    """What is read of experiment.yaml."""

    text: str | None
    name: str
    seed: str | None = None
    trains: bool = True


def _configuration(directory: Path, remarks: list[str]) -> _Configuration:
    """Return what experiment.yaml says. Without a name there, the run has the directory's."""
    fallback = directory.resolve().name
    path = directory / "experiment.yaml"
    if not path.is_file():
        return _Configuration(None, fallback)
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        values = yaml_values.read(text)
    except yaml.YAMLError:
        remarks.append("experiment.yaml is not valid YAML; it is shown as it stands.")
        return _Configuration(text, fallback)
    if not isinstance(values, dict):
        return _Configuration(text, fallback)
    seed = values.get("seed")
    trains = any(_enabled(values.get(stage)) for stage in (WARMUP, GRPO))
    return _Configuration(text, str(values.get("name") or fallback), None if seed is None else str(seed), trains)


def _enabled(block: object) -> bool:
    return not (isinstance(block, dict) and block.get("enabled") is False)
