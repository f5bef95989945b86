"""Exact amounts of what a budget counts: requests, teacher tokens, and millionths of a unit of money."""

from __future__ import annotations

import math
from dataclasses import dataclass

MICRO = 1_000_000
"""millionths of a unit of money"""
_DUST = 1e-6
"""of a millionth: what sums of binary fractions may be off"""
_RELATIVE_DUST = 4e-16
"""what a large amount may be off, as a part of it: four times the rounding of one binary fraction"""


def cost_in_micro(cost: float) -> int:
    """Return what was spent, in millionths, rounded up. So many small costs never come out too low."""
    return math.ceil(cost * MICRO - _dust(cost))


def budget_in_micro(budget: float) -> int:
    """Return what may be spent, in millionths, rounded down."""
    return math.floor(budget * MICRO + _dust(budget))


def _dust(money: float) -> float:
    return _DUST + _RELATIVE_DUST * abs(money) * MICRO


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What was used, or what is set aside."""

    requests: int = 0
    teacher_tokens: int = 0
    cost_micro: int = 0
    """millionths of a unit of money"""

    def __post_init__(self) -> None:
        if min(self.requests, self.teacher_tokens, self.cost_micro) < 0:
            raise ValueError(f"no amount should be below 0: {self}")

    @property
    def cost(self) -> float:
        """The cost in units of money."""
        return self.cost_micro / MICRO

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            requests=self.requests + other.requests,
            teacher_tokens=self.teacher_tokens + other.teacher_tokens,
            cost_micro=self.cost_micro + other.cost_micro,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most of each amount on one day. None is no limit."""

    requests: int | None = None
    teacher_tokens: int | None = None
    cost_micro: int | None = None

    @property
    def none(self) -> bool:
        """Whether nothing is limited."""
        return self == Limits()
