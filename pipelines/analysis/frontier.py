"""Accuracy against cost: the points that no other point beats, and the lines between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipelines.analysis.bootstrap import Measure, Replicates


@dataclass(frozen=True, slots=True)
class Point:
    """A system at one setting, such as one threshold or one length of calls."""

    name: str
    cost: float
    """call ratio, teacher tokens or price: the same measure for all points of a curve"""
    accuracy: float


def point_of(name: str, system: Replicates, scope: str, cost: Measure) -> Point:
    """Return the point of one system in one scope, for any measure of cost."""
    accuracy = system.estimate(scope, lambda means: means.accuracy).value
    return Point(name, system.estimate(scope, cost).value, accuracy)


def pareto_front(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points that no other point beats, by rising cost and accuracy.

    A point is beaten by a point that costs no more and is at least as accurate. Of equal points one is kept.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return tuple(front)


def accuracy_at_cost(curve: Sequence[Point], cost: float) -> float | None:
    """Return the best accuracy of the curve at this cost or less; None if even its cheapest point costs more.

    Between two points of the front it is on the line between them. Sending each problem to one of the two at random
    achieves that.
    """
    front = pareto_front(curve)
    if not front or cost < front[0].cost:
        return None
    for low, high in pairwise(front):
        if cost < high.cost:
            return low.accuracy + (cost - low.cost) / (high.cost - low.cost) * (high.accuracy - low.accuracy)
    return front[-1].accuracy
