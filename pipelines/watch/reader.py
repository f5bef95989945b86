"""Reads one run directory again and again, and says what state the run is in."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

from pipelines.experiment.alarms import ALARMS, AlarmEvent, open_alarms
from pipelines.experiment.stage_names import FINAL, GRPO, WARMUP
from pipelines.records.evaluations import ALL, Evaluation
from pipelines.report.run.attention import ended
from pipelines.watch.charts import CHARTS, NUMBERS, STEP_TIME, Chart, Number
from pipelines.watch.claims import Claim, Locks
from pipelines.watch.logs import Logs
from pipelines.watch.series import Point
from pipelines.watch.settings_file import SettingsFile
from pipelines.watch.state import (
    Curve,
    Life,
    Mark,
    RaisedAlarm,
    RunDetail,
    RunState,
    ShownChart,
    ShownNumber,
    Stage,
)
from pipelines.watch.tail import Budget
from pipelines.wording import percent

_SPARK_POINTS = 48
_CURVE_POINTS = 240
_PACE_STEPS = 20
"""the time that is left is computed from so many steps"""
_EVALUATION_COLOURS = {"relay": "relay", "student": "student", "teacher": "teacher"}
_LEAST_EVALUATIONS = 2


class RunReader:
    """One run directory. It keeps what it has read, so that a refresh reads only what is new."""

    def __init__(self, run: Path, id: str, label: str) -> None:
        self.run, self.id, self._label = run, id, label
        self._settings, self._logs = SettingsFile(run), Logs(run)
        self._claim = Claim("none")
        self._done: tuple[bool, ...] = ()
        self._report = False
        self._state: RunState | None = None

    def refresh(self, budget: Budget, locks: Locks) -> RunState:
        """Read what is new, and return the state of the run."""
        changed = self._settings.read(budget)
        changed |= self._logs.read(budget)
        claim = locks.claim(self.run / "run.lock")
        done = tuple(is_done() for _, is_done in self._settings.settings.stages)
        report = (self.run / "report.html").is_file()
        looked = (claim, done, report)
        if changed or self._state is None or looked != (self._claim, self._done, self._report):
            self._claim, self._done, self._report = looked
            self._state = self._new_state()
        elif self._state.behind_bytes or self._logs.unreadable or self._state.written_at != self._logs.written_at:
            self._state = self._new_state()
        return self._state

    def detail(self, budget: Budget, locks: Locks) -> RunDetail:
        """Read what is new, the answers too, and return all that the run's page shows."""
        self._logs.read_answers(budget)
        run = self.refresh(budget, locks)
        logs = self._logs
        return RunDetail(
            run=run,
            charts=tuple(found for chart in CHARTS if (found := self._chart(chart)) is not None),
            evaluations=tuple(self._last_evaluations()),
            highest={
                number.evaluated: self._threshold(number.alarm)
                for number in NUMBERS
                if number.evaluated and number.alarm
            },
            answers=tuple(reversed(logs.answers)),
            ended_alarms=tuple(ended(logs.events)),
        )

    def _new_state(self) -> RunState:
        settings, logs = self._settings.settings, self._logs
        life, said = self._life()
        over = life in ("finished", "broken")
        present = None if over else next((i for i, done in enumerate(self._done) if not done), None)
        stages = [
            Stage(name, done, i == present)
            for i, ((name, _), done) in enumerate(zip(settings.stages, self._done, strict=True))
        ]
        steps, done_steps = settings.grpo_steps(logs.kept), logs.steps.get(GRPO)
        pace = logs.of(STEP_TIME).last(_PACE_STEPS)
        left = max(steps - done_steps, 0) if steps and done_steps is not None else None
        is_going = life in ("running", "elsewhere") and left
        return RunState(
            id=self.id,
            label=self._label,
            name=settings.name or self.run.name,
            path=str(self.run),
            life=life,
            said=said,
            stages=tuple(stages),
            step=logs.steps.get(WARMUP, 0) if done_steps is None else done_steps,
            steps=None if done_steps is None else steps,
            progress=min(done_steps / steps, 1.0) if steps and done_steps is not None else None,
            left_s=left * statistics.median(pace) if is_going and left and pace else None,
            duration_s=logs.duration_s,
            written_at=logs.written_at,
            alarms=tuple(map(_raised, open_alarms(logs.events))),
            numbers=tuple(map(self._number, NUMBERS)),
            result=self._result(),
            report=self._report,
            serve=settings.serve_command(self.run),
            resume=shlex.join(["relayllm", "run", f"{self.run}/experiment.yaml"]) if life == "stopped" else None,
            faults=(*([settings.fault] if settings.fault else []), *logs.faults),
            behind_bytes=logs.behind_bytes + int(self._settings.waits),
        )

    def _life(self) -> tuple[Life, str]:
        logs, claim = self._logs, self._claim
        if logs.unreadable:
            return "broken", logs.unreadable
        if self._settings.settings.fault and not logs.steps and not logs.evaluations:
            return "broken", self._settings.settings.fault
        if claim.state == "held":
            return "running", f"Running on this machine, as process {claim.pid}."
        finals = any(name == FINAL for name, _, _ in logs.evaluations)
        if all(self._done) if self._done else finals:
            return "finished", "All stages are done."
        if claim.state == "elsewhere":
            return "elsewhere", f"Unfinished; started on {claim.host}. Whether it still runs cannot be seen from here."
        if logs.written_at is None:
            return "new", "Nothing is logged yet, and no driver is running it."
        return "stopped", "Unfinished, and no driver is running it: it was stopped or it crashed."

    def _number(self, number: Number) -> ShownNumber:
        series = self._logs.of(number.metric)
        value = series.last()[-1] if series else None
        one = self._followed() if number.evaluated else None
        if number.evaluated and one is not None and (value is None or one.name == FINAL):
            value = getattr(one, number.evaluated)
        threshold = self._threshold(number.alarm) if number.alarm else None
        bad = value is not None and threshold is not None and value > threshold
        spark = tuple(point.mean for point in series.points(_SPARK_POINTS))
        return ShownNumber(number.name, number.title, number.unit, value, spark, bad)

    def _threshold(self, alarm: str) -> float | None:
        found: float | None = getattr(self._settings.settings.alarms, alarm)
        return found

    def _followed(self) -> Evaluation | None:
        """Return the last evaluation of the relay student over all kinds, else that of the student."""
        found = [one for one in self._logs.evaluations.values() if one.kind == ALL] or list(
            self._logs.evaluations.values()
        )
        for policy in ("relay", "student"):
            if own := [one for one in found if one.policy == policy]:
                return own[-1]
        return found[-1] if found else None

    def _result(self) -> str:
        one = self._followed()
        if one is None:
            return ""
        kind = "" if one.kind == ALL else f" on {one.kind[:40]}"
        ratio = "" if one.policy == "student" else f", call ratio {percent(one.call_ratio)}"
        return f"{one.name}: {one.policy} {percent(one.accuracy)}{kind}{ratio}"

    def _last_evaluations(self) -> list[Evaluation]:
        """Return the rows of each policy's last evaluation, `all` last."""
        last: dict[str, str] = {}
        for one in self._logs.evaluations.values():
            last[one.policy] = one.name
        rows = [one for one in self._logs.evaluations.values() if last[one.policy] == one.name]
        order = list(last)
        return sorted(rows, key=lambda one: (order.index(one.policy), one.kind == ALL, one.kind))

    def _chart(self, chart: Chart) -> ShownChart | None:
        """Return the chart with the run's curves; None if it has none."""
        form = "area" if chart.form == "stack" else "line"
        curves = [
            Curve(line.label, line.colour, series.points(_CURVE_POINTS), form)  # type: ignore[arg-type]
            for line in chart.lines
            if (series := self._logs.of(line.metric, chart.stage))
        ]
        if chart.evaluated:
            curves += self._evaluated(chart.evaluated)
        if not curves:
            return None
        marks = [
            Mark(f"alarm {name}", threshold, "bad")
            for name in chart.alarms
            if (threshold := self._threshold(name)) is not None
        ]
        if chart.evaluated == "call_ratio" and (one := self._followed()) and one.oracle_call_ratio is not None:
            marks.append(Mark("best possible", one.oracle_call_ratio, "oracle"))
        return ShownChart(chart.name, chart.title, chart.unit, chart.step_name, tuple(curves), tuple(marks))

    def _evaluated(self, field: str) -> Sequence[Curve]:
        """Return the evaluations over training as points, for relay and student alone."""
        curves = []
        for policy in ("relay", "student"):
            if policy == "student" and field == "call_ratio":
                continue
            points = []
            for one in self._logs.evaluations.values():
                if one.policy == policy and one.kind == ALL:
                    value = getattr(one, field)
                    low, high = one.accuracy_ci95 if field == "accuracy" else (value, value)
                    points.append(Point(one.step, value, low, high))
            if points:
                label = f"{policy}, evaluated"
                points.sort(key=lambda point: point.step)
                curves.append(Curve(label, _EVALUATION_COLOURS[policy], tuple(points), "points"))
        return curves


def _raised(event: AlarmEvent) -> RaisedAlarm:
    alarm = ALARMS[event.alarm]
    condition = alarm.condition(event.threshold, in_evaluation=event.name is not None)
    return RaisedAlarm(
        name=alarm.name,
        number=f"{alarm.shown(event.value)} {alarm.quantity}",
        detail=event.detail[:300],
        where=f"{event.where[:100]}, since {event.since or event.at}; raised {condition}",
        meaning=alarm.meaning,
        remedy=alarm.remedy,
    )
