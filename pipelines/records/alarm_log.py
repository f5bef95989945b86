"""Records a run's alarms: a line in alarms.jsonl and in the log when an alarm begins and when it ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pydantic import JsonValue, TypeAdapter

from pipelines.experiment.alarms import ALARMS, AlarmEvent, AlarmSettings, event_text
from pipelines.records.alarm_watch import AlarmWatch
from pipelines.records.evaluations import EVALUATIONS, Evaluation
from pipelines.records.run_directory import RunDirectory

logger = logging.getLogger(__name__)

ALARM_EVENTS = "alarms.jsonl"

_EVENT, _EVALUATION = TypeAdapter(AlarmEvent), TypeAdapter(Evaluation)


class AlarmLog:
    """The alarms of a run directory. Alarms that an earlier process left open stay open."""

    def __init__(self, run: RunDirectory, settings: AlarmSettings) -> None:
        self._run = run
        events = [_EVENT.validate_python(row) for row in run.read_jsonl(ALARM_EVENTS)]
        self._watch = AlarmWatch(settings, earlier=[event for event in events if event.alarm in ALARMS])
        for row in run.read_jsonl(run.metrics.name):
            stage, step, metrics = row["stage"], row["step"], row["metrics"]
            assert isinstance(stage, str) and isinstance(step, int) and isinstance(metrics, dict)
            self._watch.remember(stage, step, _numbers(metrics))
        self._watch.remember_evaluations(map(_EVALUATION.validate_python, run.read_jsonl(EVALUATIONS)))

    @property
    def open(self) -> list[AlarmEvent]:
        """The last event of each alarm that has not ended, in the order of the registry."""
        return self._watch.open

    def step(self, stage: str, step: int, metrics: Mapping[str, float | None]) -> list[AlarmEvent]:
        """Record and return the alarms that begin or end with this step of a stage."""
        return self._recorded(self._watch.step(stage, step, metrics))

    def evaluated(self, rows: Sequence[Evaluation]) -> list[AlarmEvent]:
        """Record and return the alarms that begin, go on or end with an evaluation; `rows` are one policy's, of all kinds."""
        return self._recorded(self._watch.evaluated(rows))

    def rolled_back(self, stage: str, to: int) -> list[AlarmEvent]:
        """Record and return the alarms that end because a stage has gone back to step `to`."""
        return self._recorded(self._watch.rolled_back(stage, to))

    def _recorded(self, events: list[AlarmEvent]) -> list[AlarmEvent]:
        for event in events:
            self._run.append_jsonl(ALARM_EVENTS, asdict(event))
            if event.event != "continued":
                logger.log(logging.WARNING if event.event == "began" else logging.INFO, "%s", event_text(event))
        return events


def _numbers(metrics: Mapping[str, JsonValue]) -> dict[str, float | None]:
    return {name: value if isinstance(value, int | float) else None for name, value in metrics.items()}
