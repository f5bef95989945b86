"""What a report leaves out of a run's records: numbers that no run can have, and that no figure or table can show."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import TypeVar

from pipelines.experiment.alarms import AlarmEvent
from pipelines.records.evaluations import Evaluation
from pipelines.records.traces import Trace

_LARGEST = 1e100
"""of a metric; sums, squares and axes of larger numbers overflow"""
_MOST = 10**12
"""of whatever is counted, and of seconds"""
_ROUNDING = 1e-6

_Numbered = TypeVar("_Numbered", Evaluation, AlarmEvent, Trace)


@dataclass(frozen=True, slots=True)
class MetricRow:
    """What one step of one stage logged."""

    stage: str
    step: int
    time_s: float
    """seconds since the run began"""
    metrics: dict[str, float | None]


def shown_metrics(row: MetricRow) -> tuple[MetricRow | None, str]:
    """Return what a report shows of the row, None if nothing, and as text what it leaves out. A metric may be None or NaN."""
    if fault := _step_fault(row.step):
        return None, fault
    faults = {name: value for name, value in row.metrics.items() if value is not None and _overflows(value)}
    said = [f"{name} ({value:g}) is larger than a figure can show" for name, value in faults.items()]
    kept = replace(row, metrics={name: value for name, value in row.metrics.items() if name not in faults})
    if not 0 <= row.time_s <= _MOST:
        kept = replace(kept, time_s=0.0)
        said.append(f"time_s ({row.time_s:g}) should be seconds since the run began")
    return kept, "; ".join(said)


def shown_evaluation(row: Evaluation) -> tuple[Evaluation | None, str]:
    """Return the row, or None with the first of its fields that no evaluation can have."""
    for field in fields(row):
        name, value = field.name, getattr(row, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is None or isinstance(number, str):
                continue
            least = 1 if name in ("problems", "samples") else 0
            counted = name in (
                "step",
                "problems",
                "samples",
                "calls_per_sample",
                "requested_mean",
                "output_tokens_mean",
            )
            most = _MOST if counted else 1
            if not least - _ROUNDING <= number <= most + _ROUNDING:
                return None, f"{name} ({_short(number)}) should be between {least} and {most}"
    return row, ""


def shown_event(record: _Numbered) -> tuple[_Numbered | None, str]:
    """Return the record of a step, or None with what is wrong with the step."""
    fault = _step_fault(record.step)
    return (None, fault) if fault else (record, "")


def _overflows(value: float) -> bool:
    return isfinite(value) and abs(value) > _LARGEST


def _step_fault(step: int) -> str:
    return "" if 0 <= step <= _MOST else f"step ({_short(step)}) should be between 0 and {_MOST}"


def _short(number: float) -> str:
    text = f"{number:g}" if isinstance(number, float) else str(number)
    return text if len(text) <= 20 else f"{text[:17]}..."
