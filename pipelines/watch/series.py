"""The numbers of one metric over the steps of a stage, kept small, and reduced to as many points as a screen shows."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """One or several neighbouring steps of a curve."""

    step: int
    """the last of them"""
    mean: float
    low: float
    high: float


class Series:
    """Steps in order, with one value each: 16 bytes a step."""

    def __init__(self) -> None:
        self._steps, self._values = array("q"), array("d")

    def __len__(self) -> int:
        return len(self._steps)

    def put(self, step: int, value: float | None) -> None:
        """Set the value of a step. After a resume a step is logged again: the later value counts, and None removes it."""
        place = len(self._steps) if not self._steps or step > self._steps[-1] else bisect_left(self._steps, step)
        known = place < len(self._steps) and self._steps[place] == step
        if value is None:
            if known:
                del self._steps[place], self._values[place]
        elif known:
            self._values[place] = value
        else:
            self._steps.insert(place, step)
            self._values.insert(place, value)

    def last(self, count: int = 1) -> tuple[float, ...]:
        """Return the values of the last steps."""
        return tuple(self._values[-count:])

    def points(self, most: int) -> tuple[Point, ...]:
        """Return at most `most` points. Neighbouring steps share one, which keeps the lowest and the highest of them."""
        size = max(-(-len(self) // most), 1)
        found = []
        for start in range(0, len(self), size):
            values = self._values[start : start + size]
            last = self._steps[min(start + size, len(self)) - 1]
            found.append(Point(last, sum(values) / len(values), min(values), max(values)))
        return tuple(found)
