"""The least loaded of many, without looking at all of them."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


@dataclass(slots=True)
class LeastLoaded(Generic[T]):
    """Members and their loads. Of several with the same load, the one that has had it the longest comes first."""

    _loads: dict[T, int] = field(default_factory=dict)
    _current: dict[T, int] = field(default_factory=dict)
    """member -> the number of its entry that counts; a member that is set aside has none"""
    _heap: list[tuple[int, int, T]] = field(default_factory=list)
    """load, number and member; entries that no longer count are dropped when they come up"""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @classmethod
    def of(cls, members: Iterable[T]) -> LeastLoaded[T]:
        """Return them without load."""
        made = cls()
        for member in members:
            made._loads[member] = 0
            made.include(member)
        return made

    @property
    def members(self) -> list[T]:
        """All that were not removed."""
        return list(self._loads)

    def load(self, member: T) -> int:
        return self._loads[member]

    def change(self, member: T, by: int) -> None:
        """Add to a member's load, or take from it; also of one that is set aside."""
        if member in self._loads:
            self._loads[member] += by
        if member in self._current:
            self.include(member)

    def include(self, member: T) -> None:
        """Let a member be found, again or with its new load."""
        number = next(self._numbers)
        self._current[member] = number
        heapq.heappush(self._heap, (self._loads[member], number, member))
        if len(self._heap) > 2 * len(self._loads) + 64:
            self._heap = [entry for entry in self._heap if self._current.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def set_aside(self, member: T) -> None:
        """Keep a member from being found."""
        self._current.pop(member, None)

    def remove(self, member: T) -> None:
        """Forget a member that is set aside; its load may still change, to no effect."""
        self.set_aside(member)
        del self._loads[member]

    def finds(self, member: T) -> bool:
        """Return whether a member is neither set aside nor removed."""
        return member in self._current

    def least(self) -> T | None:
        """Return the least loaded member, or None if all are set aside."""
        while self._heap:
            _, number, member = self._heap[0]
            if self._current.get(member) == number:
                return member
            heapq.heappop(self._heap)
        return None
