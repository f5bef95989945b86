"""A prompt group's difficulty as a scenario (paper section 2.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Scenario(StrEnum):
    """What one prompt's group of trajectories says about the prompt."""

    STUDENT_SOLVABLE = "student_solvable"
    """some trajectory without a call is correct"""
    TEACHER_DEPENDENT = "teacher_dependent"
    """only trajectories with a call are correct"""
    TEACHER_UNSOLVABLE = "teacher_unsolvable"
    """none is correct"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What rewards depend on in one trajectory."""

    correct: bool
    called: bool
    """the teacher wrote at least one token"""
    call_ratio: float
    """teacher-written tokens / all output tokens, in [0, 1]"""
    cut_off: bool = False
    """the answer ended at a limit and not by an end of text, and counts as unfinished"""


def scenario_of(group: Sequence[Outcome]) -> Scenario:
    """Return the scenario of one prompt's group; `ValueError` if the group is empty.

    The argument is one group, never a batch: another prompt's outcomes must not bear on this one's difficulty.
    """
    if not group:
        raise ValueError("an empty group has no scenario")
    if any(outcome.correct and not outcome.called for outcome in group):
        return Scenario.STUDENT_SOLVABLE
    if any(outcome.correct for outcome in group):
        return Scenario.TEACHER_DEPENDENT
    return Scenario.TEACHER_UNSOLVABLE
