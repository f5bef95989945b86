"""The state of a run, as page and terminal show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from pipelines.records.evaluations import Evaluation
from pipelines.records.traces import ShownPart, TracedCall
from pipelines.watch.series import Point

Life: TypeAlias = Literal["running", "elsewhere", "finished", "stopped", "new", "broken"]
"""running: its lock is held here. elsewhere: unfinished, and its driver was on another machine, whose locks are not seen
here. stopped: unfinished, and no driver has it. new: nothing is logged yet. broken: it cannot be read."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run, with the evaluations at one time taken together."""

    name: str
    done: bool
    present: bool
    """the first that is not done, unless the run is over"""


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm that began and, with `ended`, is over."""

    name: str
    number: str
    """such as `31.0 % answers that end at a limit`"""
    detail: str
    where: str
    """such as `grpo, since step 14; raised above 10.0 % for 5 steps in a row`"""
    meaning: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ShownNumber:
    """A number of a run's row: its last value, and its course."""

    name: str
    title: str
    unit: str
    value: float | None
    spark: tuple[float, ...]
    bad: bool


@dataclass(frozen=True, slots=True)
class RunState:
    """One run in a list of runs."""

    id: str
    """names the run in addresses of the page"""
    label: str
    """its folder, below the folder that was given"""
    name: str
    """of its experiment"""
    path: str
    life: Life
    said: str
    """the life in a sentence"""
    stages: tuple[Stage, ...]
    step: int
    """GRPO steps done; of the warm-up before that"""
    steps: int | None
    """all steps of the stage; None if not known"""
    progress: float | None
    """GRPO steps done / all, 0 to 1"""
    left_s: float | None
    """seconds that the rest of GRPO takes at the present speed"""
    duration_s: float
    """from the run's start to its last step, without pauses"""
    written_at: float | None
    """when the last line was written, in seconds since the epoch"""
    alarms: tuple[RaisedAlarm, ...]
    """those that have not ended"""
    numbers: tuple[ShownNumber, ...]
    result: str
    """the last evaluation in words; empty without any"""
    report: bool
    serve: str | None
    """the command that serves its student; None if there is none yet"""
    resume: str | None
    """the command that goes on with it, if it stopped"""
    faults: tuple[str, ...]
    """what could not be read, one sentence each"""
    behind_bytes: int
    """still to be read"""

    @property
    def needs_a_look(self) -> bool:
        return bool(self.alarms) or self.life in ("broken", "stopped")


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve, or points of evaluations with their interval as low and high."""

    label: str
    colour: str
    points: tuple[Point, ...]
    form: Literal["line", "area", "points"] = "line"


@dataclass(frozen=True, slots=True)
class Mark:
    """A level across a chart."""

    label: str
    value: float
    colour: str


@dataclass(frozen=True, slots=True)
class ShownChart:
    """Curves with the same axes."""

    name: str
    title: str
    unit: str
    step_name: str
    curves: tuple[Curve, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to read, with who wrote which part."""

    number: int
    """in the order in which answers came; a later one is larger"""
    name: str
    step: int
    policy: str
    kind: str
    problem: str
    gold: str
    answer: str | None
    correct: bool
    parts: tuple[ShownPart, ...]
    calls: tuple[TracedCall, ...]
    shortened: bool


@dataclass(frozen=True, slots=True)
class RunDetail:
    """One run with all that its page shows."""

    run: RunState
    charts: tuple[ShownChart, ...]
    evaluations: tuple[Evaluation, ...]
    """of each policy, its last ones"""
    highest: dict[str, float | None]
    """fields of evaluations, each with the value above which its alarm is raised; None without that alarm"""
    answers: tuple[Answer, ...]
    """the newest first"""
    ended_alarms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FleetState:
    """All runs under the folders."""

    folders: tuple[str, ...]
    runs: tuple[RunState, ...]
    """those that need a look first, then running ones, then the others; the newest first"""
    remarks: tuple[str, ...]
    behind_bytes: int
