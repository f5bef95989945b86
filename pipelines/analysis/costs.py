"""What answers cost: tokens written and read by each model, and their price."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from cluster.settings import Settings
from pipelines.analysis.bootstrap import Estimate, Replicates
from pipelines.analysis.problem_means import Float, Means


class TokenPrices(Settings):
    """Prices of a million tokens of one model, in any one currency."""

    input: float = Field(ge=0.0, description="prefilled tokens that no prefix cache held")
    cached_input: float = Field(0.0, ge=0.0, description="prefilled tokens that the prefix cache held")
    output: float = Field(ge=0.0, description="decoded tokens")


class PriceSettings(Settings):
    """Prices of both models.

    The defaults are no real prices. They are the billions of parameters of the paper's models (1.7 and 8), because the
    arithmetic for a token is proportional to these. A cached token needs almost none, so its default price is 0. Only the
    proportion of the prices means something.
    """

    student: TokenPrices = TokenPrices(input=1.7, output=1.7)
    teacher: TokenPrices = TokenPrices(input=8.0, output=8.0)


@dataclass(frozen=True, slots=True)
class Cost:
    """The mean cost of an answer. Wall clock is left out, since it depends on the machines."""

    student_output_tokens: Estimate
    """commands included"""
    student_input_tokens: Estimate
    """prefilled: the prompt, and what the teacher wrote"""
    student_cached_tokens: Estimate
    """read again after calls, if its prefix cache still held all"""
    teacher_output_tokens: Estimate
    teacher_input_tokens: Estimate
    """prefilled, not in the prefix cache"""
    teacher_cached_tokens: Estimate
    """prefilled from the prefix cache"""
    price: Estimate
    """price of a million answers"""
    unrecorded_calls: Estimate
    """calls whose prefill was not recorded, so that it is missing here"""


def price(means: Means, prices: PriceSettings) -> Float:
    """Return the price of a million answers."""
    student, teacher = prices.student, prices.teacher
    return (
        student.input * means.student_input
        + student.cached_input * means.student_cached
        + student.output * means.student_tokens
        + teacher.input * (means.teacher_input - means.teacher_cached)
        + teacher.cached_input * means.teacher_cached
        + teacher.output * means.teacher_tokens
    )


def cost(system: Replicates, scope: str, prices: PriceSettings) -> Cost:
    """Return what one system's answers cost in one scope."""
    return Cost(
        student_output_tokens=system.estimate(scope, lambda means: means.student_tokens),
        student_input_tokens=system.estimate(scope, lambda means: means.student_input),
        student_cached_tokens=system.estimate(scope, lambda means: means.student_cached),
        teacher_output_tokens=system.estimate(scope, lambda means: means.teacher_tokens),
        teacher_input_tokens=system.estimate(scope, lambda means: means.teacher_input - means.teacher_cached),
        teacher_cached_tokens=system.estimate(scope, lambda means: means.teacher_cached),
        price=system.estimate(scope, lambda means: price(means, prices)),
        unrecorded_calls=system.estimate(scope, lambda means: means.unrecorded_calls),
    )
