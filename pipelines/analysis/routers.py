"""Routers that send whole queries to student or teacher. They are computed from recorded answers, without decoding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from pipelines.analysis.bootstrap import Replicates
from pipelines.analysis.problem_means import Float, Means, ProblemMeans, check_same_problems, map_means, ratio

_ROUNDING = 1e-12
"""accuracies that differ by no more are equal: the same mean, summed in another order"""
_HALVINGS = 60
"""steps of bisection for a share of queries; more would not change a float"""


def share_for_accuracy(accuracy: ArrayLike, student: ArrayLike, teacher: ArrayLike) -> Float:
    """Return the share p of queries at which a random router has an accuracy: accuracy = (1 - p) student + p teacher.

    If no p in (0, 1] has it, the share is infinite: inf if sending everything to the teacher is not accurate enough, -inf
    if the student alone is accurate enough.
    """
    gained = np.subtract(accuracy, student)
    share = np.minimum(ratio(gained, np.subtract(teacher, student)), 1.0)
    share = np.where(np.greater(accuracy, np.maximum(student, teacher) + _ROUNDING), np.inf, share)
    return np.where(gained <= _ROUNDING, -np.inf, share)


def token_share(share: ArrayLike, student_tokens: ArrayLike, teacher_tokens: ArrayLike) -> Float:
    """Return the teacher's share of all output tokens when it gets the share p of queries.

    phi = p T_L / ((1 - p) T_S + p T_L), with the mean output tokens of either model's answers.
    """
    by_teacher = np.multiply(share, teacher_tokens)
    return ratio(by_teacher, np.multiply(np.subtract(1.0, share), student_tokens) + by_teacher)


@dataclass(frozen=True, slots=True)
class RandomRouter:
    """Sends each query to the teacher with one probability p, in one scope; every method takes p as [1 + R]."""

    student: Means
    """[1 + R, G] means of the model that answers all other queries: the untrained student as in the paper, or another"""
    teacher: Means

    @classmethod
    def of(cls, student: Replicates, teacher: Replicates, scope: str) -> RandomRouter:
        return cls(student.groups[scope], teacher.groups[scope])

    def at(self, share: Float) -> Means:
        """Return [1 + R, G] the means of the mixed answers: all are linear in p."""
        p = share[:, None]
        return map_means(lambda student, teacher: (1 - p) * student + p * teacher, self.student, self.teacher)

    def accuracy(self, share: Float) -> Float:
        return self.at(share).accuracy.mean(axis=1)

    def token_share(self, share: Float) -> Float:
        """Return phi, the teacher's share of output tokens; the mean over the groups if there are several."""
        return token_share(share[:, None], self.student.output_tokens, self.teacher.output_tokens).mean(axis=1)

    def share_for_accuracy(self, accuracy: Float) -> Float:
        """Return the p at which the router has an accuracy; infinite if there is none, as in the function `share_for_accuracy`."""
        student, teacher = self.student.accuracy.mean(axis=1), self.teacher.accuracy.mean(axis=1)
        return share_for_accuracy(accuracy, student, teacher)

    def share_for_token_share(self, tokens: Float) -> Float:
        """Return the p at which the teacher writes a share of the output tokens. Bisection finds it, since phi grows with p."""
        low, high = np.zeros_like(tokens), np.ones_like(tokens)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            below = self.token_share(middle) < tokens
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return high


@dataclass(frozen=True, slots=True)
class RouterCurve:
    """A random router at some shares of queries; the arrays belong together."""

    share: Float
    accuracy: Float
    token_share: Float
    teacher_tokens: Float
    """written by the teacher, for an average answer"""


def random_router_curve(student: Replicates, teacher: Replicates, scope: str, points: int = 101) -> RouterCurve:
    """Return the whole curve in closed form, from the student alone to the teacher alone."""
    shares = np.linspace(0.0, 1.0, points)
    whole = RandomRouter.of(student, teacher, scope)
    router = RandomRouter(
        map_means(lambda values: values[:1], whole.student), map_means(lambda values: values[:1], whole.teacher)
    )
    return RouterCurve(
        share=shares,
        accuracy=router.accuracy(shares),
        token_share=router.token_share(shares),
        teacher_tokens=router.at(shares).teacher_tokens.mean(axis=1),
    )


def perfect_router(student: ProblemMeans, teacher: ProblemMeans) -> ProblemMeans:
    """Return the answers of a router that asks the teacher exactly where the student fails.

    Samples are independent, so every sample of the student is combined with every sample of the teacher: accuracy is the
    mean of "student right or teacher right". If the student fails, its tokens do not count.

    Raises `ValueError` if the two were evaluated on different problems, or if the teacher wrote in the student's answers.
    """
    check_same_problems(student, teacher)
    if student.means.teacher_tokens.any():
        raise ValueError("the perfect router's student should answer alone, but the teacher wrote in its answers")
    failed = 1 - student.means.accuracy
    kept = student.means.correct_output_tokens
    mixed = map_means(lambda own, other: (1 - failed) * own + failed * other, student.means, teacher.means)
    return ProblemMeans(
        student.problem,
        student.kind,
        replace(
            mixed,
            accuracy=1 - failed * (1 - teacher.means.accuracy),
            output_tokens=kept + failed * teacher.means.output_tokens,
            correct_output_tokens=kept + failed * teacher.means.correct_output_tokens,
            timed_out=failed * teacher.means.timed_out,
        ),
    )
