"""The alarms that a run raised, which a reader should look at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.experiment.alarms import ALARMS, AlarmEvent, open_alarms
from pipelines.report.run.reading import RunRecords


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One place where an alarm is raised."""

    number: str
    """the number with its words, such as `31.0 % answers that end at a limit`"""
    detail: str
    where: str


@dataclass(frozen=True, slots=True)
class Concern:
    """An alarm that has not ended, with all places where it is raised, as the page shows it."""

    name: str
    occurrences: tuple[Occurrence, ...]
    meaning: str
    remedy: str


def concerns(run: RunRecords) -> list[Concern]:
    """Return the alarms that have not ended, in the order of the registry, with their last numbers."""
    found: dict[str, list[Occurrence]] = {}
    for event in open_alarms(run.alarms):
        alarm = ALARMS[event.alarm]
        value = event.value
        if alarm.metric is not None and event.name is None and not alarm.relative:
            _, values = run.series(alarm.metric, event.where)
            value = float(values[-1]) if values.size else value
        condition = alarm.condition(event.threshold, in_evaluation=event.name is not None)
        where = f"{event.where}, since {event.since or event.at}; raised {condition}"
        found.setdefault(alarm.name, []).append(
            Occurrence(f"{alarm.shown(value)} {alarm.quantity}", event.detail, where)
        )
    return [Concern(name, tuple(places), ALARMS[name].meaning, ALARMS[name].remedy) for name, places in found.items()]


def ended(events: Sequence[AlarmEvent]) -> list[str]:
    """Return a phrase for each alarm that ended and was not raised again, such as `cut_off (grpo, step 12 to step 40)`."""
    over: dict[tuple[str, str], str] = {}
    for event in events:
        over.pop(event.key, None)
        if event.event == "ended":
            over[event.key] = f"{event.alarm} ({event.where}, {event.since} to {event.at})"
    return list(over.values())
