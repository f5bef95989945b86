"""Groups for GRPO's steps: ordered ahead, taken as they are finished; late ones go into a later step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from pydantic import TypeAdapter

from pipelines.data.problem import Problem
from pipelines.rollout.decode_and_grade import GradedOrder


@dataclass(frozen=True, slots=True)
class Cursor:
    """Which problems were learned from, in places of the endless sequence that `problems_from` defines."""

    next: int
    """all before this place, but those in `carried`"""
    carried: tuple[int, ...] = ()
    """ordered and not yet learned from; increasing"""

    @classmethod
    def read(cls, content: bytes) -> Cursor:
        """Return what `written` has made of a cursor. Raises ValueError."""
        return _CURSOR.validate_json(content)

    def written(self) -> bytes:
        return _CURSOR.dump_json(self)


_CURSOR = TypeAdapter(Cursor)


def problems_from(problems: Sequence[Problem], first: int, count: int, seed: int) -> list[Problem]:
    """Return `count` problems from place `first` on: epochs in seeded orders, end to end, the same in every process."""
    chosen: list[Problem] = []
    epoch, place = divmod(first, len(problems))
    while len(chosen) < count:
        order = list(range(len(problems)))
        Random(f"{seed}/{epoch}").shuffle(order)
        chosen += [problems[i] for i in order[place : place + count - len(chosen)]]
        epoch, place = epoch + 1, 0
    return chosen


class Stream(Protocol):
    """Where problems are decoded and graded, one in each order: a `GradedStream`."""

    def add(self, problems: Sequence[Problem], first: int) -> int: ...

    def next(self) -> GradedOrder: ...

    def started_by(self, index: int) -> int | None: ...


@dataclass(frozen=True, slots=True, eq=False)
class StepGroups:
    """What one step learns from."""

    groups: Sequence[GradedOrder]
    """by place, which is `first`: what a step learns does not depend on the order in which they were finished"""
    late: int
    """of these, groups that an earlier step had been ordered with"""
    seconds: float
    """wall time from the step's orders to the last of the groups"""


class GroupSupply:
    """Keeps `per_step` + `extra` groups in decoding, and gives each step the first `per_step` that are finished.

    The others go into the next steps, with the policy version that began them. So each is learned from once, whatever its
    length. A group that would be more than `max_staleness` versions behind in the next step is waited for. The last steps
    order fewer, so that none is left over.
    """

    def __init__(
        self,
        stream: Stream,
        problems: Sequence[Problem],
        cursor: Cursor,
        *,
        seed: int,
        steps: int,
        per_step: int,
        extra: int,
        max_staleness: int,
    ) -> None:
        """`cursor` is where to begin, and `steps` how many there will be; what the cursor carries is decoded anew."""
        self._stream, self._problems, self._seed = stream, problems, seed
        self._per_step, self._extra, self._max_staleness = per_step, extra, max_staleness
        self._groups_left = steps * per_step
        self._next = cursor.next
        self._again = list(cursor.carried)
        self._not_learned = set(cursor.carried)
        self._in_decoding: dict[int, int] = {}
        """place -> order"""
        self._finished: dict[int, GradedOrder] = {}
        """by place, the first to be finished first"""
        self._late: set[int] = set()
        self._ordered_at = time.perf_counter()

    @property
    def cursor(self) -> Cursor:
        """Where a run goes on that has the weights which `learned` groups have led to."""
        return Cursor(self._next, tuple(sorted(self._not_learned)))

    def order(self) -> None:
        """Order what the next step needs beside what the steps before it have left."""
        self._ordered_at = time.perf_counter()
        self._late = {*self._in_decoding, *self._finished}
        missing = min(self._per_step + self._extra, self._groups_left) - len(self._late)
        again, self._again = self._again[:missing], self._again[missing:]
        for place in again:
            self._add(place, problems_from(self._problems, place, 1, self._seed)[0])
        for problem in problems_from(self._problems, self._next, missing - len(again), self._seed):
            self._add(self._next, problem)
            self._next += 1

    def take(self, version: int) -> StepGroups:
        """Wait for the groups of the step that begins with policy `version`, and return them.

        Raises `RolloutError` if a group cannot be decoded.
        """
        while len(self._finished) < self._per_step or self._waits_for_late(version):
            group = self._stream.next()
            self._finished[group.first] = group
            del self._in_decoding[group.first]
        due = {place for place, group in self._finished.items() if self._is_due(group.version, version)}
        others = [place for place in self._finished if place not in due]
        chosen = {*due, *others[: self._per_step - len(due)]}
        groups = [self._finished[place] for place in sorted(chosen)]
        self._finished = {place: group for place, group in self._finished.items() if place not in chosen}
        self._groups_left -= len(groups)
        return StepGroups(groups, len(chosen & self._late), time.perf_counter() - self._ordered_at)

    def learned(self, step: StepGroups) -> None:
        """Note that the learner's weights are those after this step."""
        self._not_learned -= {group.first for group in step.groups}

    def _add(self, place: int, problem: Problem) -> None:
        self._in_decoding[place] = self._stream.add([problem], place)
        self._not_learned.add(place)

    def _waits_for_late(self, version: int) -> bool:
        begun = map(self._stream.started_by, self._in_decoding.values())
        return any(self._is_due(begun_by, version) for begun_by in begun if begun_by is not None)

    def _is_due(self, begun_by: int, version: int) -> bool:
        return version - begun_by >= self._max_staleness
