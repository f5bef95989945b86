"""Copies a stage's results into the run's logs, also when another run did the stage."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import SupportsFloat

from pydantic import JsonValue, TypeAdapter

from pipelines.experiment.alarms import AlarmEvent
from pipelines.experiment.stage_names import PolicyName
from pipelines.records.evaluations import EVALUATIONS, Evaluation
from pipelines.records.objective import OBJECTIVE, within_budget
from pipelines.records.run_directory import RunDirectory
from pipelines.records.traces import Trace
from pipelines.records.tracking import TRACES, Tracker, finite_or_none, read_metrics
from pipelines.terminal.evaluated import evaluation_line

ROWS = "rows"
"""key of the evaluation's rows in the summary of an evaluation stage"""

_LOGGED = ("accuracy", "call_ratio", "cut_off_share", "failed_call_share")
"""columns of an evaluation that are metrics too"""

_EVALUATION, _EVALUATIONS, _TRACE = TypeAdapter(Evaluation), TypeAdapter(tuple[Evaluation, ...]), TypeAdapter(Trace)


def log_step(
    directory: RunDirectory, tracker: Tracker, stage: str, step: int, metrics: Mapping[str, SupportsFloat]
) -> list[AlarmEvent]:
    """Record one step of a training stage, in the stage's folder and in the run's metrics. Return its alarms' events."""
    values = {name: float(value) for name, value in metrics.items()}
    directory.append_jsonl(_metrics(stage), {"step": step, "metrics": finite_or_none(values)})
    return tracker.log(stage, step, values)


def publish_steps(directory: RunDirectory, tracker: Tracker, stage: str) -> None:
    """Copy the stage's steps into the run's metrics, if they are missing there or differ."""
    known = read_metrics(directory, stage)
    steps: dict[int, dict[str, float | None]] = {}
    for row in directory.read_jsonl(_metrics(stage)):
        step, metrics = row["step"], row["metrics"]
        assert isinstance(step, int) and isinstance(metrics, dict)
        steps[step] = {name: None if value is None else _number(value) for name, value in metrics.items()}
    for step, values in sorted(steps.items()):
        if not values.items() <= known.get(step, {}).items():
            tracker.log(stage, step, {name: math.nan if value is None else value for name, value in values.items()})


def publish_evaluation(
    directory: RunDirectory, tracker: Tracker, stage: str, call_ratio_budget: float | None = None
) -> None:
    """Copy the rows and traces of a finished evaluation into the run's logs, if they are missing there or differ.

    Earlier rows stay in the log, and the last one counts. Earlier traces are removed. With a budget, the relay student's
    accuracy within it is logged too.
    """
    earlier = map(_EVALUATION.validate_python, directory.read_jsonl(EVALUATIONS))
    published = {(row.name, row.policy, row.kind): row for row in earlier}
    rows = _EVALUATIONS.validate_python(directory.summary(stage)[ROWS])
    new = [row for row in rows if published.get((row.name, row.policy, row.kind)) != row]
    for row in new:
        start = f"{row.policy}/{row.kind}"
        tracker.log("evaluate", row.step, {f"{start}/{name}": getattr(row, name) for name in _LOGGED})
        directory.append_jsonl(EVALUATIONS, asdict(row))
    if new:
        if call_ratio_budget is not None and (found := within_budget(rows, call_ratio_budget)):
            tracker.log("evaluate", rows[0].step, {OBJECTIVE: found.value})
        tracker.evaluated(rows)
        print(evaluation_line(rows, list(published.values())), flush=True)
    _publish_traces(directory, tracker, stage, {(row.name, row.policy) for row in rows})


def _publish_traces(
    directory: RunDirectory, tracker: Tracker, stage: str, evaluated: Collection[tuple[str, PolicyName]]
) -> None:
    """Copy a stage's traces to those of the run. `evaluated` is name and policy of the stage's evaluations."""
    own, shown = (_traces(directory, file) for file in (traces_file(stage), TRACES))
    kept = [trace for trace in shown if (trace.name, trace.policy) not in evaluated or trace in own]
    if len(kept) < len(shown):
        directory.write_text(TRACES, trace_lines(kept))
    missing = [trace for trace in own if trace not in kept]
    if missing:
        tracker.log_traces("evaluate", missing[0].step, missing)


def trace_lines(traces: Iterable[Trace]) -> str:
    """Return the lines of traces.jsonl."""
    return "".join(f"{json.dumps(asdict(trace), ensure_ascii=False)}\n" for trace in traces)


def traces_file(stage: str) -> str:
    """Return the path of an evaluation's own traces, within the run directory."""
    return f"stages/{stage}/{TRACES}"


def _metrics(stage: str) -> str:
    return f"stages/{stage}/metrics.jsonl"


def _traces(directory: RunDirectory, file: str) -> list[Trace]:
    return [_TRACE.validate_python(row) for row in directory.read_jsonl(file)]


def _number(value: JsonValue) -> float:
    assert isinstance(value, int | float)
    return float(value)
