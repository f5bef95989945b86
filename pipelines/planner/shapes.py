"""The shapes of answers: how long they are and where they call. Recorded by a run, or assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pipelines.experiment.errors import ConfigError
from pipelines.experiment.schema import Experiment

_ANSWERS = "stages/evaluate-*-relay/answers.parquet"
_PROMPT_TOKENS = 150
_MEAN_SHARE = 0.25
"""assumed mean length of an answer, as a share of the longest"""
_SPREAD = 0.8
"""assumed standard deviation of the logarithm of the length: about 1 answer in 25 reaches the limit"""
_CALLS_MEAN = 1.0
_WRITTEN_MEAN = 60
"""assumed tokens of a call"""


@dataclass(frozen=True, slots=True)
class Call:
    """One call within an answer."""

    after: int
    """tokens that the student writes before it, from the end of the call before it"""
    read: int
    """tokens of its context that the teacher's cache does not hold"""
    written: int


@dataclass(frozen=True, slots=True)
class Shape:
    """One answer, as far as time is concerned."""

    prompt: int
    calls: tuple[Call, ...]
    rest: int
    """tokens that the student writes after the last call"""

    @property
    def student(self) -> int:
        return sum(call.after for call in self.calls) + self.rest

    @property
    def teacher(self) -> int:
        return sum(call.written for call in self.calls)

    @property
    def tokens(self) -> int:
        """All tokens that the learner packs: prompt and output."""
        return self.prompt + self.student + self.teacher


def recorded(run: Path) -> list[Shape]:
    """Return the shapes of the answers of a run's newest evaluation with calls. Raises `ConfigError` if it has none."""
    tables = sorted(run.glob(_ANSWERS), key=lambda file: file.stat().st_mtime)
    if not tables:
        raise ConfigError(
            [f"--from {run}: has no {_ANSWERS}; give the directory of a run that has evaluated its relay student"]
        )
    import pyarrow.parquet as pq

    columns = (
        "prompt_tokens",
        "output_tokens",
        "call_positions",
        "call_written",
        "call_prompt_tokens",
        "call_cached_tokens",
    )
    table = pq.read_table(tables[-1], columns=list(columns))
    return [shape_of(*row) for row in zip(*(table[name].to_pylist() for name in columns), strict=True)]


def shape_of(
    prompt: int,
    output: int,
    positions: Sequence[int],
    written: Sequence[int],
    contexts: Sequence[int],
    cached: Sequence[int],
) -> Shape:
    """Return the shape of an answer from its columns in `pipelines.records.answers.AnswerTable`."""
    calls, end = [], 0
    for position, wrote, context, held in zip(positions, written, contexts, cached, strict=True):
        calls.append(Call(position - end, context - held, wrote))
        end = position + wrote
    return Shape(prompt, tuple(calls), output - end)


def assumed(experiment: Experiment, count: int = 4000, seed: int = 0) -> list[Shape]:
    """Return made-up shapes: lognormal lengths up to the limit, and about one call in each answer, at any place."""
    random, limits = Random(seed), experiment.grpo.limits
    middle = math.log(_MEAN_SHARE * limits.max_new_tokens) - _SPREAD**2 / 2
    return [_drawn(random, middle, limits.max_new_tokens, limits.max_calls) for _ in range(count)]


def _drawn(random: Random, middle: float, longest: int, most_calls: int) -> Shape:
    length = max(1, min(longest, round(random.lognormvariate(middle, _SPREAD))))
    wanted = sum(random.random() < _CALLS_MEAN / most_calls for _ in range(most_calls))
    places = sorted(random.randrange(length) for _ in range(wanted))
    calls, end, context = [], 0, 0
    for place in places:
        if place < end:  # within the call before it
            continue
        written = min(length - place, max(1, round(random.expovariate(1 / _WRITTEN_MEAN))))
        # The teacher has read the text up to its last call, if there was one.
        read = place - context if context else _PROMPT_TOKENS + place
        calls.append(Call(place - end, read, written))
        end = context = place + written
    return Shape(_PROMPT_TOKENS, tuple(calls), length - end)
