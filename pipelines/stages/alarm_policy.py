"""Heeds the alarms of GRPO: ends the run, or goes back to a checkpoint from before, as `grpo.on_alarm` says."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from cluster.errors import RunError
from pipelines.experiment.alarm_actions import Action, AlarmActions
from pipelines.experiment.alarms import ALARMS, AlarmEvent, event_text
from pipelines.experiment.stage_names import GRPO
from pipelines.experiment.stages import GrpoSettings
from pipelines.records.run_directory import RunDirectory
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
    """A row of `ROLL_BACKS`. With it training has gone back: older checkpoints of later steps no longer count."""

    alarm: str
    step: int
    """at which the alarm began"""
    to: int
    """steps that are kept"""
    cursor: Cursor
    """the problems that training goes on with: not those that led to the alarm"""


_ROW = TypeAdapter(RollBack)


def heed(actions: AlarmActions, events: Iterable[AlarmEvent], cursor: Cursor) -> None:
    """Act on alarms that have begun at a step. Raises `AlarmStopError` or `RollBackNeeded`; of several, stopping wins.

    Of several that ask to go back, the one whose condition has held for longest counts.
    """
    begun = [event for event in events if event.event == "began"]
    for alarm in begun:
        if _action(actions, alarm) is Action.STOP:
            raise _stopped(alarm, f"grpo.on_alarm.{alarm.alarm} is stop")
    back = [alarm for alarm in begun if _action(actions, alarm) is Action.ROLL_BACK]
    if back:
        raise RollBackNeeded(min(back, key=_last_good_step), cursor)


def roll_back(directory: RunDirectory, settings: GrpoSettings, alarm: AlarmEvent, cursor: Cursor) -> None:
    """Note that training goes back to the newest checkpoint from before the alarm's condition held.

    It goes on with the problems after `cursor`. Raises `AlarmStopError` if no such checkpoint is left, or if the run has
    gone back `grpo.most_roll_backs` times already.
    """
    done, good = len(roll_backs(directory)), _last_good_step(alarm)
    if done >= settings.most_roll_backs:
        times = counted(done, "time")
        raise _stopped(alarm, f"the run has gone back {times} already, as often as grpo.most_roll_backs allows")
    steps = [int(one.name) for one in directory.finished_checkpoints(GRPO)]
    to = max((step for step in steps if step <= good), default=0)
    if to == 0 and good >= settings.checkpoint_every:
        raise _stopped(
            alarm,
            f"no checkpoint of step {good} or earlier is left to go back to (see grpo.keep_checkpoints, "
            f"{settings.keep_checkpoints}); the same command goes on from the newest one",
        )
    directory.append_jsonl(ROLL_BACKS, _ROW.dump_python(RollBack(alarm.alarm, alarm.step, to, cursor), mode="json"))
    logger.warning(
        "%s\nTraining goes back from step %d to %s and on with other problems, %d of %d times",
        event_text(alarm),
        alarm.step,
        f"the checkpoint of step {to}" if to else "the warm student",
        done + 1,
        settings.most_roll_backs,
    )


def roll_backs(directory: RunDirectory) -> Sequence[RollBack]:
    """Return each time that training went back, in order."""
    return [_ROW.validate_python(row) for row in directory.read_jsonl(ROLL_BACKS)]


def cursor_after(directory: RunDirectory, cursor: Cursor) -> Cursor:
    """Return where to go on: at a checkpoint's own `cursor`, unless training has gone back since that was written."""
    rows = roll_backs(directory)
    return rows[-1].cursor if rows[cursor.roll_backs :] else cursor


def _last_good_step(alarm: AlarmEvent) -> int:
    return alarm.step - ALARMS[alarm.alarm].steps


def _action(actions: AlarmActions, alarm: AlarmEvent) -> Action:
    return Action(getattr(actions, alarm.alarm))


def _stopped(alarm: AlarmEvent, why: str) -> AlarmStopError:
    remedy = ALARMS[alarm.alarm].remedy
    return AlarmStopError(f"{event_text(alarm)}\n{why}. {ALARMS[alarm.alarm].meaning} {remedy}")
