"""One system's results on each problem, as means over its samples. Every comparison resamples these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.records.answers import AnswerTable, Lists

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """Means per answer. All arrays have the same shape: [problems], [resamples, kinds] or []."""

    accuracy: Float
    output_tokens: Float
    teacher_tokens: Float
    """output tokens that the teacher wrote"""
    call_ratio_of_sample: Float
    """each answer's own call ratio; 0 for an answer without tokens"""
    calls: Float
    called: Float
    """share of answers to which the teacher wrote at least one token"""
    timed_out: Float
    teacher_answered: Float
    correct_output_tokens: Float
    """output tokens of right answers; wrong ones count as 0"""
    student_input: Float
    """tokens that the student had to prefill: the prompt, and what the teacher wrote if the student went on after it"""
    student_cached: Float
    """tokens of its own context when it went on after calls: read from its prefix cache, if that still held them"""
    teacher_input: Float
    """tokens of the teacher's contexts"""
    teacher_cached: Float
    """tokens of the teacher's contexts that its prefix cache held"""
    unrecorded_calls: Float
    """calls that brought tokens but whose context was not recorded: their prefill is missing above"""

    @property
    def student_tokens(self) -> Float:
        """Output tokens that the student wrote, commands included."""
        return self.output_tokens - self.teacher_tokens

    @property
    def call_ratio(self) -> Float:
        """Teacher-written tokens / all output tokens, pooled over the answers; 0 if nothing was written."""
        return ratio(self.teacher_tokens, self.output_tokens)


@dataclass(frozen=True, slots=True, eq=False)
class ProblemMeans:
    """The P problems of an evaluation in order of their index, however many samples each has."""

    problem: NDArray[np.int64]
    """[P]"""
    kind: NDArray[np.str_]
    """[P]"""
    means: Means
    """[P]"""

    def __len__(self) -> int:
        return len(self.problem)

    @classmethod
    def of(cls, table: AnswerTable) -> ProblemMeans:
        """Return the means of a table of answers."""
        problem, first, row = np.unique(table.problem, return_index=True, return_inverse=True)
        samples = np.bincount(row)
        columns = _columns(table)
        means = {name: np.bincount(row, weights=values) / samples for name, values in columns.items()}
        return cls(problem, table.kind[first], Means(**means))

    def of_kinds(self, kinds: frozenset[str]) -> ProblemMeans:
        """Return the problems of some kinds."""
        rows = np.isin(self.kind, sorted(kinds))
        return ProblemMeans(self.problem[rows], self.kind[rows], map_means(lambda values: values[rows], self.means))


def ratio(part: ArrayLike, whole: ArrayLike) -> Float:
    """Return part / whole; 0 where the whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole != 0)


def map_means(function: Callable[..., Float], *means: Means) -> Means:
    """Return means in which each field is `function` of that field in all `means`."""
    return Means(**{field.name: function(*(getattr(one, field.name) for one in means)) for field in fields(Means)})


def check_same_problems(first: ProblemMeans, second: ProblemMeans) -> None:
    """Raise ValueError unless both are about the same problems."""
    if not np.array_equal(first.problem, second.problem):
        differing = np.setxor1d(first.problem, second.problem)
        raise ValueError(
            f"systems can only be compared on the same problems: {len(differing)} of them, the first with index "
            f"{differing[0]}, have answers of one system alone"
        )
    other = np.flatnonzero(first.kind != second.kind)
    if len(other):
        row = other[0]
        raise ValueError(
            f"problem {first.problem[row]} is '{first.kind[row]}' in one table and '{second.kind[row]}' in the other: "
            "the tables should come from the same evaluation data"
        )


def _columns(table: AnswerTable) -> dict[str, Float]:
    output = table.output_tokens.astype(np.float64)
    teacher = table.teacher_tokens.astype(np.float64)
    prompt = table.prompt_tokens.astype(np.float64)
    by_teacher = (table.calls == 0) & (table.teacher_tokens > 0)  # without a call, the teacher wrote the whole answer
    handed_back, read_again = _resumptions(table)
    unrecorded = [
        sum(tokens == 0 < written for tokens, written in zip(contexts, brought, strict=True))
        for contexts, brought in zip(table.call_prompt_tokens, table.call_written, strict=True)
    ]
    return {
        "accuracy": table.correct.astype(np.float64),
        "output_tokens": output,
        "teacher_tokens": teacher,
        "call_ratio_of_sample": ratio(teacher, output),
        "calls": table.calls.astype(np.float64),
        "called": (table.teacher_tokens > 0).astype(np.float64),
        "timed_out": table.timed_out.astype(np.float64),
        "teacher_answered": table.teacher_answered.astype(np.float64),
        "correct_output_tokens": output * table.correct,
        "student_input": np.where(by_teacher, 0.0, prompt + handed_back),
        "student_cached": read_again,
        "teacher_input": np.where(by_teacher, prompt, _sums(table.call_prompt_tokens)),
        "teacher_cached": _sums(table.call_cached_tokens),
        "unrecorded_calls": np.asarray(unrecorded, np.float64),
    }


def _resumptions(table: AnswerTable) -> tuple[Float, Float]:
    """Return [N] the teacher's tokens that the student read, and [N] the context that it read again before them.

    Only calls after which the student went on count.
    """
    handed_back, read_again = np.zeros(len(table)), np.zeros(len(table))
    for row, calls in enumerate(zip(table.call_positions, table.call_written, strict=True)):
        for position, written in zip(*calls, strict=True):
            if position + written < table.output_tokens[row]:
                handed_back[row] += written
                read_again[row] += table.prompt_tokens[row] + position
    return handed_back, read_again


def _sums(rows: Lists) -> Float:
    return np.fromiter((sum(row) for row in rows), np.float64, len(rows))
