"""Watches the numbers of a run as they come, and says when an alarm begins and when it ends."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipelines.experiment.alarms import ALARMS, Alarm, AlarmEvent, AlarmSettings, open_alarms
from pipelines.experiment.stage_names import BASE
from pipelines.records.evaluations import ALL, Evaluation
from pipelines.wording import percent

_HEALTHY_STEPS = 3
"""an alarm on steps of a stage ends after so many healthy steps in a row"""
_WINDOW = 5
"""number of steps in each mean; a relative alarm compares with the lowest mean so far"""
_TRAINED = ("student", "relay")
"""policies whose accuracy is compared with earlier ones"""


class AlarmWatch:
    """The alarms of one run. It does no I/O: `step` and `evaluated` return what began and ended."""

    def __init__(self, settings: AlarmSettings, *, earlier: Iterable[AlarmEvent] = ()) -> None:
        """`earlier` are the events that this run has recorded, in order."""
        self._thresholds = settings.model_dump()
        self._open = {event.key: event for event in open_alarms(earlier)}
        self._series: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
        self._evaluations: dict[tuple[str, str, str], Evaluation] = {}

    @property
    def open(self) -> list[AlarmEvent]:
        """The last event of each alarm that has not ended, in the order of the registry."""
        return open_alarms(self._open.values())

    def remember(self, stage: str, step: int, metrics: Mapping[str, float | None]) -> None:
        """Remember a step without checking it: an earlier process of the run has checked it."""
        for name in metrics.keys() & _WATCHED:
            value = metrics[name]
            if value is not None and math.isfinite(value):
                self._series[stage, name][step] = value
            else:  # after a resume the step may have had a number before
                self._series[stage, name].pop(step, None)

    def remember_evaluations(self, rows: Iterable[Evaluation]) -> None:
        """Remember rows of evaluations without checking them."""
        for row in rows:
            self._evaluations.pop((row.name, row.policy, row.kind), None)
            self._evaluations[row.name, row.policy, row.kind] = row

    def step(self, stage: str, step: int, metrics: Mapping[str, float | None]) -> list[AlarmEvent]:
        """Return the alarms that begin or end with this step of a stage."""
        self.remember(stage, step, metrics)
        events = []
        for alarm in ALARMS.values():
            threshold = self._thresholds[alarm.name]
            if threshold is None or alarm.metric is None or metrics.get(alarm.metric) is None:
                continue
            # After a resume a step is logged again. Later steps of the earlier process then no longer count.
            values = [value for at, value in sorted(self._series[stage, alarm.metric].items()) if at <= step]
            if alarm.relative:
                values = _relative(values)
            if not values:
                continue
            crossed = [alarm.crossed(value, threshold) for value in values[-max(alarm.steps, _HEALTHY_STEPS) :]]
            raised = len(crossed) >= alarm.steps and all(crossed[-alarm.steps :])
            healthy = not any(crossed[-_HEALTHY_STEPS:])
            events += self._change(alarm, stage, raised, healthy, step, values[-1], threshold)
        return events

    def evaluated(self, rows: Sequence[Evaluation]) -> list[AlarmEvent]:
        """Return the alarms that begin, go on or end with an evaluation; `rows` are one policy's, of all kinds."""
        if not rows:
            return []
        earlier = [row for row in self._evaluations.values() if row.name != rows[0].name]
        self.remember_evaluations(rows)
        events = []
        for alarm in ALARMS.values():
            threshold = self._thresholds[alarm.name]
            found = None if threshold is None else _in_evaluation(alarm, rows, earlier)
            if found is not None:
                value, detail = found
                raised, first = alarm.crossed(value, threshold), rows[0]
                where = f"evaluation of {first.policy}"
                events += self._change(
                    alarm, where, raised, not raised, first.step, value, threshold, detail, first.name
                )
        return events

    def rolled_back(self, stage: str, to: int) -> list[AlarmEvent]:
        """End the alarms on steps of a stage that began after step `to`, since these steps count no longer."""
        found = [event for event in self.open if event.where == stage and event.name is None and event.step > to]
        for event in found:
            del self._open[event.key]
        return [
            replace(event, event="ended", since=event.since or event.at, detail=f"gone back to step {to}")
            for event in found
        ]

    def _change(
        self,
        alarm: Alarm,
        where: str,
        raised: bool,
        healthy: bool,
        step: int,
        value: float,
        threshold: float,
        detail: str = "",
        name: str | None = None,
    ) -> list[AlarmEvent]:
        """Return the event if the alarm begins, ends, or goes on in another evaluation."""
        before = self._open.get((alarm.name, where))
        event = AlarmEvent("began", alarm.name, where, step, value, threshold, detail, name)
        if raised and before is None:
            self._open[event.key] = event
        elif raised and before is not None and name is not None:
            event = replace(event, event="continued", since=before.since or before.at)
            self._open[event.key] = event
        elif healthy and before is not None:
            event = replace(event, event="ended", since=before.since or before.at)
            del self._open[event.key]
        else:
            return []
        return [event]


_WATCHED = frozenset(alarm.metric for alarm in ALARMS.values() if alarm.metric is not None)


def _relative(values: Sequence[float]) -> list[float]:
    """Return each value from the sixth on, divided by the lowest mean of five in a row before it; zeros are left out."""
    values = [value for value in values if value > 0]
    found, least = [], math.inf
    for end in range(_WINDOW, len(values)):
        least = min(least, sum(values[end - _WINDOW : end]) / _WINDOW)
        found.append(values[end] / least)
    return found


def _in_evaluation(alarm: Alarm, rows: Sequence[Evaluation], earlier: Sequence[Evaluation]) -> tuple[float, str] | None:
    """Return the number that the alarm watches in an evaluation, and its detail; None if it does not watch this one."""
    first, field = rows[0], alarm.evaluation
    match field:
        case None:
            return None
        case "accuracy":
            if first.policy not in _TRAINED or first.name == BASE:
                return None
            return _largest_fall(rows, earlier)
        case "with_call_share" if first.policy != "relay" or first.step == 0:
            return None  # before GRPO no student has learned when to call
    chosen = [row for row in rows if (row.kind != ALL if alarm.by_kind else row.kind == ALL)] or list(rows)
    values = [float(getattr(row, field)) for row in chosen]
    worst = min(values) if alarm.below else max(values)
    kind = chosen[values.index(worst)].kind
    return worst, "" if kind == ALL else kind


def _largest_fall(rows: Sequence[Evaluation], earlier: Sequence[Evaluation]) -> tuple[float, str] | None:
    """Return the largest loss of accuracy that chance does not explain, and its detail; 0 if there is none.

    Each kind is compared with its best earlier evaluation: of the same policy, or of the student before training.
    """
    falls = [(0.0, "")]
    for row in rows:
        before = [
            other
            for other in earlier
            if other.kind == row.kind
            and (other.policy == row.policy or (other.policy == "student" and other.name == BASE))
        ]
        if not before:
            continue
        best = max(before, key=lambda other: other.accuracy)
        if row.accuracy_ci95[1] < best.accuracy_ci95[0]:
            detail = f"{row.kind}: {percent(row.accuracy)} after {percent(best.accuracy)} in {best.name}"
            falls.append((best.accuracy - row.accuracy, detail))
    return max(falls)
