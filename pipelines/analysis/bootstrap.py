"""Intervals by resampling problems: each kind keeps its number of problems, and all systems share the same draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pipelines.analysis.problem_means import Float, Means, ProblemMeans, check_same_problems
from pipelines.records.evaluations import ALL

RESAMPLES = 2000
AVERAGE = "average"
"""the scope of all kinds, each with the same weight: how the paper averages its benchmarks"""
_TAIL = 0.025
_CHUNK = 1 << 22
"""draws that are computed at one time"""

Measure = Callable[[Means], Float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % percentile interval; a bound is infinite if the resamples have none."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, replicates: Float) -> Estimate:
        """Return the estimate whose value is replicates[0], and whose resamples are the rest."""
        resampled = np.sort(replicates[1:])
        last = len(resampled) - 1
        low, high = int(np.floor(_TAIL * last)), int(np.ceil((1 - _TAIL) * last))
        return cls(float(replicates[0]), float(resampled[low]), float(resampled[high]))


@dataclass(frozen=True, slots=True, eq=False)
class Resampling:
    """How often each problem was drawn. Row 0 is the problems as they are; R resamples follow."""

    problems: ProblemMeans
    """the problems that were resampled; every system has to have the same problems"""
    kinds: tuple[str, ...]
    members: tuple[NDArray[np.int64], ...]
    """the rows of each kind among the problems"""
    draws: tuple[NDArray[np.uint16], ...]
    """[1 + R, problems of the kind], for each kind"""

    @classmethod
    def of(cls, problems: ProblemMeans, resamples: int = RESAMPLES, seed: int = 0) -> Resampling:
        """Draw as many problems of each kind as it has, with replacement, `resamples` times."""
        kinds = tuple(sorted({str(kind) for kind in problems.kind}))
        if not kinds:
            raise ValueError("there are no problems to resample")
        reserved = {ALL, AVERAGE} & set(kinds)
        if reserved:
            raise ValueError(
                f"no kind of problem may be named {reserved.pop()!r}: results over all kinds have that name"
            )
        members = tuple(np.flatnonzero(problems.kind == kind) for kind in kinds)
        generator = np.random.default_rng(seed)
        draws = tuple(_draws(generator, len(rows), resamples) for rows in members)
        return cls(problems, kinds, members, draws)

    @property
    def scopes(self) -> tuple[str, ...]:
        """What results are given for: each kind, all problems together, and the average of the kinds."""
        return (*self.kinds, ALL, AVERAGE)

    def problems_in(self, scope: str) -> int:
        if scope in (ALL, AVERAGE):
            return len(self.problems)
        return len(self.members[self.kinds.index(scope)])

    def means(self, columns: Float) -> Float:
        """Return [1 + R, kinds, C], the mean of each kind's problems, for columns [P, C]."""
        return np.stack([_means(draws, columns[rows]) for rows, draws in zip(self.members, self.draws, strict=True)], 1)

    def pooled(self, by_kind: Float) -> Float:
        """Return [1 + R, 1, C], the mean over all problems, of means [1 + R, kinds, C]."""
        weights = np.asarray([len(rows) for rows in self.members], np.float64)
        return np.average(by_kind, axis=1, weights=weights, keepdims=True)

    def scoped(self, column: Float) -> dict[str, Float]:
        """Return [1 + R] the mean of a column [P] in every scope."""
        by_kind = self.means(column[:, None])
        values = {kind: by_kind[:, i, 0] for i, kind in enumerate(self.kinds)}
        return {**values, ALL: self.pooled(by_kind)[:, 0, 0], AVERAGE: by_kind[:, :, 0].mean(axis=1)}


@dataclass(frozen=True, slots=True, eq=False)
class Replicates:
    """One system's means in every scope, as they are and resampled."""

    groups: dict[str, Means]
    """by scope; arrays [1 + R, G]: the scope averages its measures over G groups of problems, which is 1 or all kinds"""

    @classmethod
    def of(cls, system: ProblemMeans, resampling: Resampling) -> Replicates:
        """Return the means of one system. Raises `ValueError` if it was evaluated on other problems."""
        check_same_problems(resampling.problems, system)
        names = [field.name for field in fields(Means)]
        by_kind = resampling.means(np.stack([getattr(system.means, name) for name in names], axis=1))
        pooled = resampling.pooled(by_kind)

        def means(values: Float) -> Means:
            return Means(**{name: values[:, :, i] for i, name in enumerate(names)})

        kinds = {kind: means(by_kind[:, i : i + 1]) for i, kind in enumerate(resampling.kinds)}
        return cls({**kinds, ALL: means(pooled), AVERAGE: means(by_kind)})

    def measure(self, scope: str, measure: Measure) -> Float:
        """Return [1 + R] a measure in one scope."""
        return measure(self.groups[scope]).mean(axis=1)

    def estimate(self, scope: str, measure: Measure) -> Estimate:
        """Return a measure in one scope with its interval."""
        return Estimate.of(self.measure(scope, measure))


def difference(first: Replicates, second: Replicates, scope: str, measure: Measure) -> Estimate:
    """Return `first` - `second`, paired by problem. Pairing makes the interval narrower."""
    return Estimate.of(first.measure(scope, measure) - second.measure(scope, measure))


def _draws(generator: np.random.Generator, problems: int, resamples: int) -> NDArray[np.uint16]:
    parts = [np.ones((1, problems), np.uint16)]
    step = max(_CHUNK // problems, 1)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(problems, size=(rows, problems)) + problems * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * problems)
        parts.append(counts.reshape(rows, problems).astype(np.uint16))
    return np.concatenate(parts)


def _means(draws: NDArray[np.uint16], columns: Float) -> Float:
    step = max(_CHUNK // len(columns), 1)
    parts = [draws[start : start + step].astype(np.float64) @ columns for start in range(0, len(draws), step)]
    return np.concatenate(parts) / len(columns)
