"""Scenarios: the difficulty of a prompt, judged by its group of trajectories (paper section 2.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Scenario(StrEnum):
    """How difficult a prompt is, by its group of trajectories."""

    STUDENT_SOLVABLE = "student_solvable"
    """a trajectory without a call is correct"""
    TEACHER_DEPENDENT = "teacher_dependent"
    """only trajectories with a call are correct"""
    TEACHER_UNSOLVABLE = "teacher_unsolvable"
    """none is correct"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The properties of one trajectory that its reward depends on."""

    correct: bool
    called: bool
    """the teacher wrote at least one token"""
    call_ratio: float
    """teacher-written tokens / all output tokens, in [0, 1]"""
    cut_off: bool = False
    """whether the answer ended at a limit, not by an end of text, and so counts as unfinished"""


def scenario_of(group: Sequence[Outcome]) -> Scenario:
    """Return the scenario of one prompt's group (paper section 2.3). Raises `ValueError` if the group is empty.

    Pass one group, never a batch: the outcomes of other prompts must not affect this prompt's difficulty.
    """
    if not group:
        raise ValueError("an empty group has no scenario")
    if any(outcome.correct and not outcome.called for outcome in group):
        return Scenario.STUDENT_SOLVABLE
    if any(outcome.correct for outcome in group):
        return Scenario.TEACHER_DEPENDENT
    return Scenario.TEACHER_UNSOLVABLE
