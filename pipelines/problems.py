"""What a data source yields: problems with a checkable answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One question."""

    question: str
    gold: str
    """the reference answer, as it would stand in `\\boxed{}`"""
    kind: str
    """the group that results are reported by: a kind of chain arithmetic, or a benchmark's name"""
