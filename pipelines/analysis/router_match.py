"""Compares a system with random routers: its savings at equal accuracy, and its gain at equal use of the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pipelines.analysis.bootstrap import Estimate, Replicates
from pipelines.analysis.costs import PriceSettings, price
from pipelines.analysis.problem_means import Float, Means, ratio
from pipelines.analysis.routers import RandomRouter


class NoMatch(StrEnum):
    """Why no random router is as accurate as a system."""

    ABOVE_TEACHER = "the system is more accurate than the teacher and the student: no router reaches it"
    NOT_ABOVE_STUDENT = "the system is not more accurate than the student alone: a router needs no teacher for that"


@dataclass(frozen=True, slots=True)
class Savings:
    """The random router of equal accuracy, and 1 - system / router by several measures of cost.

    A bound is infinite if its resample has no such router: -inf if the student alone is accurate enough, inf if no router
    is.
    """

    queries: Estimate
    """p, the share of queries that the router sends to the teacher"""
    token_share: Estimate
    """phi, the teacher's share of the router's output tokens"""
    by_queries: Estimate
    """1 - call ratio / p, as in the paper: tokens against queries"""
    by_token_share: Estimate
    """1 - call ratio / phi"""
    by_teacher_tokens: Estimate
    """1 - teacher tokens of the system / of the router, for the same problems"""
    by_price: Estimate
    """1 - price of the system / of the router, prefill and both models included"""


@dataclass(frozen=True, slots=True)
class RouterMatch:
    """One system against the random routers between a student and a teacher."""

    savings: Savings | None
    """None if no router is as accurate"""
    no_match: NoMatch | None
    matched_share: float
    """share of the resamples in which a router is as accurate"""
    gain_at_queries: Estimate
    """accuracy above the router whose share of queries to the teacher is the system's call ratio, as in the paper"""
    gain_at_tokens: Estimate
    """accuracy above the router whose teacher writes the same share of output tokens as the system's teacher"""


def match_router(
    system: Replicates, student: Replicates, teacher: Replicates, scope: str, prices: PriceSettings
) -> RouterMatch:
    """Return `system` against the random routers between `student` and `teacher`, in one scope."""
    router = RandomRouter.of(student, teacher, scope)
    accuracy = system.measure(scope, lambda means: means.accuracy)
    call_ratio = system.measure(scope, lambda means: means.call_ratio)
    share = router.share_for_accuracy(accuracy)
    found = np.isfinite(share)
    savings, reason = None, None
    if found[0]:
        savings = _savings(system.groups[scope], router, share, call_ratio, prices)
    else:
        reason = NoMatch.ABOVE_TEACHER if share[0] > 0 else NoMatch.NOT_ABOVE_STUDENT
    return RouterMatch(
        savings=savings,
        no_match=reason,
        matched_share=float(found[1:].mean()),
        gain_at_queries=Estimate.of(gain_at_queries(system, router, scope)),
        gain_at_tokens=Estimate.of(gain_at_tokens(system, router, scope)),
    )


def gain_at_queries(system: Replicates, router: RandomRouter, scope: str) -> Float:
    """Return [1 + R] accuracy above the router whose share of queries to the teacher is the system's call ratio."""
    call_ratio = system.measure(scope, lambda means: means.call_ratio)
    return system.measure(scope, lambda means: means.accuracy) - router.accuracy(call_ratio)


def gain_at_tokens(system: Replicates, router: RandomRouter, scope: str) -> Float:
    """Return [1 + R] accuracy above the router whose teacher's share of the output tokens is the system's call ratio."""
    share = router.share_for_token_share(system.measure(scope, lambda means: means.call_ratio))
    return system.measure(scope, lambda means: means.accuracy) - router.accuracy(share)


def _savings(system: Means, router: RandomRouter, share: Float, call_ratio: Float, prices: PriceSettings) -> Savings:
    found = np.isfinite(share)
    matched = np.where(found, share, 1.0)
    mixed = router.at(matched)
    phi = router.token_share(matched)

    def where_found(values: Float) -> Estimate:
        return Estimate.of(np.where(found, values, share))

    def saved(cost: Float, of_router: Float) -> Estimate:
        return where_found(1 - ratio(cost, of_router))

    return Savings(
        queries=where_found(share),
        token_share=where_found(phi),
        by_queries=saved(call_ratio, matched),
        by_token_share=saved(call_ratio, phi),
        by_teacher_tokens=saved(system.teacher_tokens.mean(axis=1), mixed.teacher_tokens.mean(axis=1)),
        by_price=saved(price(system, prices).mean(axis=1), price(mixed, prices).mean(axis=1)),
    )
