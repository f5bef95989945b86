"""One system's results by kind, over all problems, and averaged over the kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb

import numpy as np

from pipelines.analysis.bootstrap import Estimate, Replicates, Resampling
from pipelines.analysis.problem_means import Float, ProblemMeans
from pipelines.records.answers import AnswerTable


@dataclass(frozen=True, slots=True)
class Summary:
    """One system in one scope. Every problem counts once, however many answers it has."""

    problems: int
    accuracy: Estimate
    """mean over the problems of the share of right answers (avg@k)"""
    pass_at: Mapping[int, Estimate]
    """by k: the chance that at least one of k answers is right"""
    call_ratio: Estimate
    """teacher-written tokens / all output tokens, pooled"""
    call_ratio_of_sample: Estimate
    """mean over the answers of each one's call ratio"""
    calls_per_sample: Estimate
    called_share: Estimate
    """answers to which the teacher wrote at least one token"""
    output_tokens: Estimate
    """mean tokens of an answer"""
    teacher_tokens: Estimate
    """mean tokens that the teacher wrote in an answer"""
    teacher_answered_share: Estimate
    """answers in whose final box the teacher wrote"""
    timed_out_share: Estimate
    """answers that count as wrong because grading ran into its deadline"""


def summarize(table: AnswerTable, resampling: Resampling) -> dict[str, Summary]:
    """Return the results of one system in every scope."""
    replicates = Replicates.of(ProblemMeans.of(table), resampling)
    passes = {k: resampling.scoped(pass_at_k(table, k)) for k in pass_sizes(table)}
    return {scope: _summary(resampling, replicates, passes, scope) for scope in resampling.scopes}


def pass_sizes(table: AnswerTable) -> tuple[int, ...]:
    """Return the powers of two up to the fewest answers to any problem, and that number itself."""
    fewest = int(np.unique(table.problem, return_counts=True)[1].min())
    return tuple(sorted({2**i for i in range(fewest.bit_length())} | {fewest}))


def pass_at_k(table: AnswerTable, k: int) -> Float:
    """Return [P] the chance that at least one of k answers is right, estimated without bias: 1 - C(n - c, k) / C(n, k).

    Raises `ValueError` if a problem has fewer than k answers.
    """
    problem, row = np.unique(table.problem, return_inverse=True)
    answers = np.bincount(row)
    if not 1 <= k <= answers.min():
        fewest = int(answers.argmin())
        raise ValueError(f"pass@{k} should have k from 1 to {answers.min()}, the answers to problem {problem[fewest]}")
    right = np.bincount(row, weights=table.correct).astype(np.int64)
    chances = [1 - comb(n - c, k) / comb(n, k) for n, c in zip(answers.tolist(), right.tolist(), strict=True)]
    return np.asarray(chances)


def _summary(
    resampling: Resampling, replicates: Replicates, passes: Mapping[int, Mapping[str, Float]], scope: str
) -> Summary:
    def of(name: str) -> Estimate:
        return replicates.estimate(scope, lambda means: getattr(means, name))

    return Summary(
        problems=resampling.problems_in(scope),
        accuracy=of("accuracy"),
        pass_at={k: Estimate.of(values[scope]) for k, values in passes.items()},
        call_ratio=of("call_ratio"),
        call_ratio_of_sample=of("call_ratio_of_sample"),
        calls_per_sample=of("calls"),
        called_share=of("called"),
        output_tokens=of("output_tokens"),
        teacher_tokens=of("teacher_tokens"),
        teacher_answered_share=of("teacher_answered"),
        timed_out_share=of("timed_out"),
    )
