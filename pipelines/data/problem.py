"""What a data source yields: problems with a checkable answer."""

from dataclasses import dataclass

from rewards.verification import AnswerForm


@dataclass(frozen=True, slots=True)
class Problem:
    """One question."""

    question: str
    gold: str
    """the reference answer, as it would stand in `\\boxed{}`: the letter, if it is an option"""
    kind: str
    """the group that results are reported by: a kind of chain arithmetic, or a benchmark's name"""
    form: AnswerForm = "free"
    """whether the gold answer is the letter of an option"""
