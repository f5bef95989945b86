"""The logs of one run, as far as they have been read: numbers by step, evaluations, alarms, and the newest answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from pipelines.experiment.alarms import ALARMS, AlarmEvent
from pipelines.experiment.stage_names import GRPO
from pipelines.records.evaluations import EVALUATIONS, Evaluation
from pipelines.records.traces import Segment, Trace
from pipelines.records.tracking import TRACES
from pipelines.report.run.bounds import MetricRow, shown_evaluation, shown_event, shown_metrics
from pipelines.watch.charts import KEPT
from pipelines.watch.series import Series
from pipelines.watch.state import Answer
from pipelines.watch.tail import Budget, NotALogError, Tail

_MOST_FAULTS = 5
_MOST_STAGES = 64
_MOST_EVALUATIONS = 2000
_MOST_EVENTS = 2000
_MOST_ANSWERS = 240
_MOST_CHARACTERS = 8000
"""of an answer, and of each other text"""
_ANSWERS_FROM_BYTES = 4 << 20
"""so many bytes at the end of traces.jsonl are read"""

_Record = TypeVar("_Record")
_ROW, _EVALUATION = TypeAdapter(MetricRow), TypeAdapter(Evaluation)
_EVENT, _TRACE = TypeAdapter(AlarmEvent), TypeAdapter(Trace)


class _Log:
    """One file, and what of it could not be read."""

    def __init__(self, path: Path, last_bytes: int | None = None) -> None:
        self.name = path.name
        self.tail = Tail(path, last_bytes)
        self.faults: list[str] = []
        self.most = 0
        self.unreadable = ""

    def records(
        self, budget: Budget, adapter: TypeAdapter[_Record], shown: Callable[[_Record], tuple[_Record | None, str]]
    ) -> tuple[list[_Record], bool]:
        """Return the records that were added, and whether the file is another one than before."""
        try:
            added = self.tail.read(budget)
        except NotALogError as error:
            self.unreadable = str(error)
            return [], False
        self.unreadable = ""
        if added.restarted:
            self.faults, self.most = [], 0
        for _ in range(added.too_long):
            self._fault("a line is too long, and is left out")
        found = []
        for number, line in enumerate(added.lines, start=added.first_line):
            if not line.strip():
                continue
            try:
                record, left_out = shown(adapter.validate_json(line))
            except (ValidationError, RecursionError):
                self._fault(f"line {number} is no record, and is left out")
                continue
            if left_out:
                self._fault(f"line {number}: {left_out}; it is left out")
            if record is not None:
                found.append(record)
        return found, added.restarted

    def _fault(self, said: str) -> None:
        self.most += 1
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(f"{self.name}: {said[:300]}.")

    def said(self) -> list[str]:
        more = self.most - len(self.faults)
        return [*self.faults, *([f"{self.name} has {more} further faults."] if more else [])]


class Logs:
    """All logs of a run directory. `read` takes what was added."""

    def __init__(self, run: Path) -> None:
        self._metrics, self._alarms = _Log(run / "metrics.jsonl"), _Log(run / "alarms.jsonl")
        self._evaluations = _Log(run / EVALUATIONS)
        self._traces = _Log(run / TRACES, _ANSWERS_FROM_BYTES)
        self.series: dict[tuple[str, str], Series] = {}
        """by stage and metric"""
        self.steps: dict[str, int] = {}
        """the last step of each stage"""
        self.kept: float | None = None
        """problems that the filter left"""
        self.duration_s = 0.0
        self.evaluations: dict[tuple[str, str, str], Evaluation] = {}
        """by name, policy and kind, the last ones last"""
        self.events: list[AlarmEvent] = []
        self.answers: deque[Answer] = deque(maxlen=_MOST_ANSWERS)
        self._answered = 0

    def read(self, budget: Budget) -> bool:
        """Read what was added to all logs but the answers. Return whether anything was."""
        rows, again = self._metrics.records(budget, _ROW, shown_metrics)
        if again:
            self.series, self.steps, self.kept, self.duration_s = {}, {}, None, 0.0
        for row in rows:
            self._put(row)
        evaluations, anew = self._evaluations.records(budget, _EVALUATION, shown_evaluation)
        if anew:
            self.evaluations = {}
        for one in evaluations:
            key = (one.name, one.policy, one.kind)
            self.evaluations.pop(key, None)
            if len(self.evaluations) < _MOST_EVALUATIONS:
                self.evaluations[key] = one
        events, over = self._alarms.records(budget, _EVENT, shown_event)
        self.events = [*([] if over else self.events), *(one for one in events if one.alarm in ALARMS)][-_MOST_EVENTS:]
        return bool(rows or evaluations or events or again or anew or over)

    def read_answers(self, budget: Budget) -> None:
        """Read the answers that were added; at first those at the end of the file."""
        traces, again = self._traces.records(budget, _TRACE, shown_event)
        if again:
            self.answers.clear()
        for trace in traces[-_MOST_ANSWERS:]:
            self._answered += 1
            self.answers.append(_answer(trace, self._answered))

    @property
    def written_at(self) -> float | None:
        """When a line was last written, in seconds since the epoch."""
        found = [log.tail.changed_at for log in (self._metrics, self._alarms, self._evaluations)]
        return max((at for at in found if at is not None), default=None)

    @property
    def behind_bytes(self) -> int:
        return sum(log.tail.behind for log in (self._metrics, self._alarms, self._evaluations))

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(said for log in self._all for said in log.said())

    @property
    def unreadable(self) -> str:
        """Why a log cannot be read at all; empty if all can."""
        return " ".join(log.unreadable for log in self._all if log.unreadable)

    @property
    def _all(self) -> Iterable[_Log]:
        return self._metrics, self._evaluations, self._alarms, self._traces

    def _put(self, row: MetricRow) -> None:
        self.duration_s = max(self.duration_s, row.time_s)
        if row.stage in self.steps or len(self.steps) < _MOST_STAGES:
            self.steps[row.stage] = row.step
        if (kept := row.metrics.get("filter/kept")) is not None:
            self.kept = kept
        for name, value in row.metrics.items():
            if (row.stage, name) in KEPT:
                finite = value if value is not None and abs(value) < float("inf") else None
                self.series.setdefault((row.stage, name), Series()).put(row.step, finite)

    def of(self, metric: str, stage: str = GRPO) -> Series:
        """Return the numbers of a metric; empty if the stage has not logged it."""
        return self.series.get((stage, metric)) or Series()


def _answer(trace: Trace, number: int) -> Answer:
    """Return what is shown of a trace. Its texts are cut, so that one answer cannot fill the page."""
    left, kept = _MOST_CHARACTERS, []
    for segment in trace.segments:
        if left > 0:
            kept.append(Segment(segment.source, segment.text[:left]))
            left -= len(segment.text)
    short = Trace(**{one.name: getattr(trace, one.name) for one in fields(Trace)} | {"segments": tuple(kept)})
    return Answer(
        number=number,
        name=trace.name[:200],
        step=trace.step,
        policy=trace.policy,
        kind=trace.kind[:200],
        problem=trace.problem[:_MOST_CHARACTERS],
        gold=trace.gold[:500],
        answer=None if trace.answer is None else trace.answer[:500],
        correct=trace.correct,
        parts=short.shown_parts,
        calls=trace.calls[:50],
        shortened=left < 0,
    )
