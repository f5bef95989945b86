"""Turns an estimate with its interval into a verdict: an effect shows, does not show, or cannot be told."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from pipelines.analysis.bootstrap import Estimate


class Verdict(StrEnum):
    """What a run says about a finding."""

    SHOWS = "shows"
    DOES_NOT_SHOW = "does not show"
    CANNOT_BE_TOLD = "cannot be told"


Decision = Callable[[Estimate], Verdict]


def positive(smallest: float) -> Decision:
    """Return a decision: shows if the effect is surely above 0; does not show if it is surely less than `smallest`."""

    def decide(estimate: Estimate) -> Verdict:
        if estimate.high < smallest:
            return Verdict.DOES_NOT_SHOW
        return Verdict.SHOWS if estimate.low > 0 else Verdict.CANNOT_BE_TOLD

    return decide


def within(tolerance: float) -> Decision:
    """Return a decision: shows if the number is surely within `tolerance` of 0; does not show if it surely is not."""

    def decide(estimate: Estimate) -> Verdict:
        if -tolerance < estimate.low and estimate.high < tolerance:
            return Verdict.SHOWS
        beyond = estimate.low > tolerance or estimate.high < -tolerance
        return Verdict.DOES_NOT_SHOW if beyond else Verdict.CANNOT_BE_TOLD

    return decide


def not_below(tolerance: float) -> Decision:
    """Return a decision: shows if the number is surely not below -`tolerance`; does not show if it surely is below."""

    def decide(estimate: Estimate) -> Verdict:
        if estimate.low > -tolerance:
            return Verdict.SHOWS
        return Verdict.DOES_NOT_SHOW if estimate.high < -tolerance else Verdict.CANNOT_BE_TOLD

    return decide
