"""Heeds the alarms of GRPO: ends the run, or goes back to a checkpoint from before, as `grpo.on_alarm` says."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from cluster.errors import RunError
from cluster.files import prune
from pipelines.experiment.alarm_actions import Action, AlarmActions
from pipelines.experiment.alarms import ALARMS, AlarmEvent, event_text
from pipelines.experiment.stage_names import GRPO
from pipelines.experiment.stages import GrpoSettings
from pipelines.records.alarm_log import ALARM_EVENTS
from pipelines.records.run_directory import RunDirectory
from pipelines.records.tracking import Tracker
from pipelines.rollout.group_supply import Cursor
from pipelines.wording import counted

logger = logging.getLogger(__name__)

ROLL_BACKS = f"stages/{GRPO}/roll_backs.jsonl"


class AlarmStopError(RunError):
    """An alarm has ended the run, as its settings ask. The message is the diagnosis."""


class RollBackNeeded(Exception):
    """An alarm asks to go back to a checkpoint, and to go on with the problems after the `cursor`."""

    def __init__(self, alarm: AlarmEvent, cursor: Cursor) -> None:
        super().__init__(event_text(alarm))
        self.alarm, self.cursor = alarm, cursor


@dataclass(frozen=True, slots=True)
class RollBack:
    """A row of `ROLL_BACKS`."""

    alarm: str
    step: int
    """at which the alarm began"""
    to: int
    """steps that are kept"""
    cursor: Cursor
    """the problems that training goes on with: not those that led to the alarm"""
    events: int
    """lines of alarms.jsonl at that time, by which a row is recognised if the run is ended in the middle"""


_ROW = TypeAdapter(RollBack)


def heed(actions: AlarmActions, events: Iterable[AlarmEvent], cursor: Cursor) -> None:
    """Act on alarms that have begun at a step. Raises `AlarmStopError` or `RollBackNeeded`; of several, stopping wins."""
    begun = {_action(actions, event): event for event in events if event.event == "began"}
    if (alarm := begun.get(Action.STOP)) is not None:
        raise _stopped(alarm, f"grpo.on_alarm.{alarm.alarm} is stop")
    if (alarm := begun.get(Action.ROLL_BACK)) is not None:
        raise RollBackNeeded(alarm, cursor)


def finish_roll_back(directory: RunDirectory, tracker: Tracker, settings: GrpoSettings) -> None:
    """Go back for an alarm that is still open: the run was ended before it had gone back, or its settings have changed."""
    for alarm in tracker.open_alarms:
        if alarm.where == GRPO and _action(settings.on_alarm, alarm) is Action.ROLL_BACK:
            roll_back(directory, tracker, settings, alarm, Cursor(alarm.step * settings.prompts_per_step))
            return


def roll_back(
    directory: RunDirectory, tracker: Tracker, settings: GrpoSettings, alarm: AlarmEvent, cursor: Cursor
) -> None:
    """Remove the checkpoints since the alarm's condition held, so that training goes on from the one before.

    It goes on with the problems after `cursor`. Raises `AlarmStopError` if no such checkpoint is left, or if the run has
    gone back `grpo.most_roll_backs` times already. It may be ended at any point, and is then done again.
    """
    earlier = roll_backs(directory)
    events = len(directory.read_jsonl(ALARM_EVENTS))
    is_recorded = bool(earlier) and earlier[-1].events == events
    done = len(earlier) - is_recorded
    if done >= settings.most_roll_backs:
        raise _stopped(
            alarm, f"the run has gone back {counted(done, 'time')} already, as often as grpo.most_roll_backs allows"
        )
    good = alarm.step - ALARMS[alarm.alarm].steps
    checkpoints = directory.finished_checkpoints(GRPO)
    to = max((int(one.name) for one in checkpoints if int(one.name) <= good), default=0)
    if to == 0 and good >= settings.checkpoint_every:
        raise _stopped(
            alarm,
            f"no checkpoint of step {good} or earlier is left to go back to: raise grpo.keep_checkpoints "
            f"({settings.keep_checkpoints}) or lower grpo.checkpoint_every ({settings.checkpoint_every})",
        )
    prune([one for one in checkpoints if int(one.name) > to], keep=0)
    if not is_recorded:
        row = RollBack(alarm.alarm, alarm.step, to, cursor, events)
        directory.append_jsonl(ROLL_BACKS, _ROW.dump_python(row, mode="json"))
    tracker.rolled_back(GRPO, to)  # last, since an open alarm is what has it done again
    where = f"the checkpoint of step {to}" if to else "the warm student"
    logger.warning(
        "%s\nTraining goes back from step %d to %s and on with other problems, %d of %d times",
        event_text(alarm),
        alarm.step,
        where,
        done + 1,
        settings.most_roll_backs,
    )


def roll_backs(directory: RunDirectory) -> Sequence[RollBack]:
    """Return how often this run went back, in order."""
    return [_ROW.validate_python(row) for row in directory.read_jsonl(ROLL_BACKS)]


def cursor_after(directory: RunDirectory, step: int, cursor: Cursor) -> Cursor:
    """Return where to go on after `step` steps: at the `cursor` of that checkpoint, unless the run has gone back to it."""
    return next((row.cursor for row in reversed(roll_backs(directory)) if row.to == step), cursor)


def _action(actions: AlarmActions, alarm: AlarmEvent) -> Action:
    return Action(getattr(actions, alarm.alarm))


def _stopped(alarm: AlarmEvent, why: str) -> AlarmStopError:
    remedy = ALARMS[alarm.alarm].remedy
    return AlarmStopError(f"{event_text(alarm)}\n{why}. {ALARMS[alarm.alarm].meaning} {remedy}")
