"""Supplies GRPO's steps with groups. They are ordered ahead and taken as they finish; late ones go into a later step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from pydantic import TypeAdapter

from pipelines.data.problem import Problem
from pipelines.rollout.decode_and_grade import GradedOrder


@dataclass(frozen=True, slots=True)
class Cursor:
    """Which problems were learned from. A problem is given by its place in the endless sequence of `problems_from`."""

    next: int
    """all problems before this place were learned from, except those in `carried`"""
    carried: tuple[int, ...] = ()
    """places that were ordered and not yet learned from, in increasing order"""
    roll_backs: int = 0
    """how often training had gone back to an earlier checkpoint by then"""

    @classmethod
    def read(cls, content: bytes) -> Cursor:
        """Return the cursor that `written` wrote. Raises `ValueError` on other content."""
        return _CURSOR.validate_json(content)

    def written(self) -> bytes:
        return _CURSOR.dump_json(self)


_CURSOR = TypeAdapter(Cursor)


def problems_from(problems: Sequence[Problem], first: int, count: int, seed: int) -> list[Problem]:
    """Return `count` problems from place `first` on. Each epoch is shuffled by the seed, the same in every process."""
    chosen: list[Problem] = []
    epoch, place = divmod(first, len(problems))
    while len(chosen) < count:
        order = list(range(len(problems)))
        Random(f"{seed}/{epoch}").shuffle(order)
        chosen += [problems[i] for i in order[place : place + count - len(chosen)]]
        epoch, place = epoch + 1, 0
    return chosen


class Stream(Protocol):
    """Decodes and grades problems, one in each order, as a `GradedStream` does."""

    def add(self, problems: Sequence[Problem], first: int) -> int: ...

    def next(self) -> GradedOrder: ...

    def started_by(self, number: int) -> int | None: ...


@dataclass(frozen=True, slots=True, eq=False)
class StepGroups:
    """What one step learns from."""

    groups: Sequence[GradedOrder]
    """sorted by place (`first`), so that what a step learns does not depend on the order in which they finished"""
    late: int
    """how many of the groups were ordered for an earlier step"""
    again: int
    """how many groups were decoded again meanwhile"""
    seconds: float
    """wall time from the step's orders to the last of the groups"""


class GroupSupply:
    """Keeps `per_step` + `extra` groups in decoding, and gives each step the first `per_step` that are finished.

    The others go into the next steps, with the policy version that began them. So each is learned from once, whatever its
    length. A step waits for a group that would be more than `max_staleness` versions behind in the next step. The last
    steps order fewer groups, so that none is left over.
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
        spoilt: Callable[[GradedOrder], bool],
    ) -> None:
        """`cursor` is where to begin; `steps` is how many steps follow. Problems that the cursor carries are decoded again.

        `spoilt` says of each finished group whether it is decoded again, and not learned from.
        """
        self._stream, self._problems, self._seed = stream, problems, seed
        self._per_step, self._extra, self._max_staleness = per_step, extra, max_staleness
        self._spoilt = spoilt
        self._groups_left = steps * per_step
        self._next = cursor.next
        self._again = list(cursor.carried)
        self._not_learned = set(cursor.carried)
        self._in_decoding: dict[int, int] = {}
        """place -> order"""
        self._finished: dict[int, GradedOrder] = {}
        """place -> group, the first to finish first"""
        self._late: set[int] = set()
        self._ordered_at = time.perf_counter()

    @property
    def cursor(self) -> Cursor:
        """Where a resumed run goes on, with the weights after all steps given to `learned`."""
        return Cursor(self._next, tuple(sorted(self._not_learned)))

    def order(self) -> None:
        """Order the groups that the next step needs beside those left over from earlier steps."""
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
        again = 0
        while len(self._finished) < self._per_step or self._waits_for_late(version):
            group = self._stream.next()
            del self._in_decoding[group.first]
            if self._spoilt(group):
                (problem,) = group.problems
                self._add(group.first, problem)
                again += 1
            else:
                self._finished[group.first] = group
        due = {place for place, group in self._finished.items() if self._is_due(group.version, version)}
        others = [place for place in self._finished if place not in due]
        chosen = {*due, *others[: self._per_step - len(due)]}
        groups = [self._finished[place] for place in sorted(chosen)]
        self._finished = {place: group for place, group in self._finished.items() if place not in chosen}
        self._groups_left -= len(groups)
        return StepGroups(groups, len(chosen & self._late), again, time.perf_counter() - self._ordered_at)

    def learned(self, step: StepGroups) -> None:
        """Note that the learner has learned from this step's groups."""
        self._not_learned -= {group.first for group in step.groups}

    def _add(self, place: int, problem: Problem) -> None:
        self._in_decoding[place] = self._stream.add([problem], place)
        self._not_learned.add(place)

    def _waits_for_late(self, version: int) -> bool:
        begun = map(self._stream.started_by, self._in_decoding.values())
        return any(self._is_due(begun_by, version) for begun_by in begun if begun_by is not None)

    def _is_due(self, begun_by: int, version: int) -> bool:
        return version - begun_by >= self._max_staleness
