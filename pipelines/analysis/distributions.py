"""How long calls are, and where in the answer they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from pipelines.records.answers import AnswerTable, Lists


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each value occurs. Values are in increasing order."""

    values: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, rows: Lists) -> Counts:
        values, counts = np.unique(np.fromiter(chain.from_iterable(rows), np.int64), return_counts=True)
        return cls(tuple(values.tolist()), tuple(counts.tolist()))

    @property
    def total(self) -> int:
        return sum(self.counts)

    def binned(self, edges: Sequence[int]) -> tuple[int, ...]:
        """Return how many are in each [edges[i], edges[i + 1]). Raises `ValueError` if some are outside."""
        if self.values and not edges[0] <= self.values[0] <= self.values[-1] < edges[-1]:
            raise ValueError(f"edges should cover {self.values[0]} to {self.values[-1]}, not [{edges[0]}, {edges[-1]})")
        histogram, _ = np.histogram(self.values, [*edges[:-1], edges[-1] - 0.5], weights=self.counts)
        return tuple(int(count) for count in histogram)


@dataclass(frozen=True, slots=True)
class CallLengths:
    """Over all executed calls."""

    requested: Counts
    """n, in tokens"""
    written: Counts
    """tokens that the teacher wrote; 0 for a failed call"""
    cut: int
    """calls that brought less than they asked for: the teacher ended the text, a token limit did, or the call failed"""


@dataclass(frozen=True, slots=True)
class CallPositions:
    """Where calls are in the final answer, from 0 (its beginning) to 1 (its end)."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    """one fewer than edges"""


def call_lengths(table: AnswerTable) -> CallLengths:
    """Return the distribution of requested and of written tokens."""
    pairs = zip(chain.from_iterable(table.call_requested), chain.from_iterable(table.call_written), strict=True)
    cut = sum(written < requested for requested, written in pairs)
    return CallLengths(Counts.of(table.call_requested), Counts.of(table.call_written), cut)


def calls_per_answer(table: AnswerTable) -> Counts:
    """Return how many answers have 0, 1, 2, ... calls."""
    return Counts.of(tuple((calls,) for calls in table.calls.tolist()))


def call_positions(table: AnswerTable, bins: int = 10) -> CallPositions:
    """Return the distribution of call position / output tokens."""
    relative = [
        [position / tokens for position in positions]
        for positions, tokens in zip(table.call_positions, np.maximum(table.output_tokens, 1).tolist(), strict=True)
    ]
    edges = np.linspace(0.0, 1.0, bins + 1)
    counts, _ = np.histogram(list(chain.from_iterable(relative)), edges)
    return CallPositions(tuple(edges.tolist()), tuple(counts.tolist()))
