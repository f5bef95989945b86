"""The best possible policy on chain arithmetic: which results it calls for, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.data.chain_arithmetic.knowledge import STUDENT, TEACHER, Knowledge
from pipelines.data.chain_arithmetic.task import Chain, chain_of

RESULT_TOKENS = len("82")
ENDING_TOKENS = len(("\\boxed{", "8", "2", "}", "<|end|>"))


@dataclass(frozen=True, slots=True)
class OracleCost:
    """What the best possible policy writes for some problems, and how many it solves."""

    accuracy: float
    """share of problems that it solves; it never guesses a result that neither model knows"""
    output_tokens: int
    teacher_tokens: int
    calls: int

    @property
    def call_ratio(self) -> float:
        return self.teacher_tokens / self.output_tokens


def solvable(chain: Chain, student: Knowledge = STUDENT, teacher: Knowledge = TEACHER) -> bool:
    """Return whether each result is known to at least one of the two models."""
    return all(student.has(step) or teacher.has(step) for step in chain.steps)


def calls_needed(chain: Chain, student: Knowledge = STUDENT, teacher: Knowledge = TEACHER) -> tuple[bool, ...]:
    """Return for each step whether the student should call right before its result.

    It should if it does not know the result. If both models together cannot solve the problem, no call helps.
    """
    worth = solvable(chain, student, teacher)
    return tuple(worth and not student.has(step) for step in chain.steps)


def oracle_cost(
    questions: Sequence[str], command_tokens: int, student: Knowledge = STUDENT, teacher: Knowledge = TEACHER
) -> OracleCost:
    """Return the cost of calling right before each unknown result, for exactly its tokens.

    `command_tokens` is the length of a command with a one-digit n in the student's vocabulary.
    """
    found = [chain_of(question) for question in questions]
    calls = sum(sum(calls_needed(chain, student, teacher)) for chain in found)
    steps_tokens = sum(len(step.written(chain.form)) for chain in found for step in chain.steps)
    return OracleCost(
        accuracy=sum(solvable(chain, student, teacher) for chain in found) / len(found),
        output_tokens=steps_tokens + calls * command_tokens + len(found) * ENDING_TOKENS,
        teacher_tokens=calls * RESULT_TOKENS,
        calls=calls,
    )
