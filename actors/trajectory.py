"""Trajectories: one finished sample each, and many of them as columns for Ray's object store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]


class Source(IntEnum):
    """Who wrote a token."""

    STUDENT = 0
    TEACHER = 1


class FinishReason(IntEnum):
    """Why a trajectory ended."""

    STUDENT_END = 0
    TEACHER_END = 1
    LENGTH = 2


class CallEnding(IntEnum):
    """Why the teacher stopped writing."""

    COMPLETED = 0
    """all requested tokens were written"""
    END_OF_TEXT = 1
    """the teacher ended the text; the trajectory ends with it"""
    BUDGET = 2
    """the request was cut to the room left in the output or in the teacher's context, and that room was filled"""
    FAILED = 3
    """the teacher failed, missed its deadline or had no room in its context; the student went on, in training as if nothing was written"""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the teacher: an executed command, or a planned call."""

    position: int
    """index in the output of the teacher's first token"""
    requested: int
    """tokens that the teacher was asked for: n, or `RelayLimits.call_tokens`, or the plan's number"""
    written: int
    """output tokens the teacher wrote"""
    duration_s: float
    ending: CallEnding
    commanded: int = 0
    """n as the student wrote it; 0 for a call without a command"""
    prompt_tokens: int = 0
    """tokens of the teacher's context; 0 if it did not answer"""
    cached_tokens: int = 0
    """how many of `prompt_tokens` the teacher's prefix cache held, so that it did not prefill them"""


CALL_COLUMNS = tuple(column.name for column in fields(Call))
"""names of the columns of `TrajectoryBatch.call_columns`"""


@dataclass(frozen=True, slots=True)
class RejectedCommands:
    """Counts of the commands that the student wrote but that were not executed, by reason."""

    zero: int = 0
    malformed: int = 0
    unterminated: int = 0
    over_limit: int = 0
    """begun where commands are forbidden; their tokens were taken back, so they are not part of the answer"""

    @property
    def total(self) -> int:
        return self.zero + self.malformed + self.unterminated + self.over_limit


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """One finished sample. All per-token arrays have the length of `token_ids`, T."""

    prompt_ids: Int32
    """[P] the student's prompt"""
    token_ids: Int32
    """[T] the output in the student's vocabulary: student, command and teacher tokens"""
    sources: UInt8
    """[T] `Source` of each token"""
    logprobs: Float32
    """[T] log-prob under the sampling policy at its temperature; 0 for teacher tokens"""
    versions: Int32
    """[T] policy version that sampled the token; -1 for teacher tokens"""
    constrained: Bool
    """[T] whether the token replaces the first token of a forbidden command.

    Its draw excluded all tokens that such commands had begun with. So its log-prob is not the policy's.
    """
    calls: tuple[Call, ...]
    rejected: RejectedCommands
    finish: FinishReason
    text: str
    """the output as text, commands included, without special tokens"""

    @property
    def teacher_tokens(self) -> int:
        return int((self.sources == Source.TEACHER).sum())

    @property
    def call_ratio(self) -> float:
        """Teacher-written tokens / all output tokens, in [0, 1] (the paper's rho, counted on written tokens)."""
        return self.teacher_tokens / max(len(self.token_ids), 1)

    @property
    def called(self) -> bool:
        """Whether the teacher wrote at least one token."""
        return any(call.written > 0 for call in self.calls)

    @property
    def trainable(self) -> bool:
        """Whether the trajectory may be trained on. It may not if a call failed, because the failure affected what followed."""
        return all(call.ending != CallEnding.FAILED for call in self.calls)


@dataclass(frozen=True, eq=False)
class TrajectoryBatch:
    """N trajectories as columns; row i of a ragged column is `flat[offsets[i]:offsets[i + 1]]`.

    Pickle protocol 5 passes the arrays without copying them, so Ray workers on one node share their memory.
    """

    prompt_ids: Int32
    prompt_offsets: NDArray[np.int64]
    token_ids: Int32
    token_offsets: NDArray[np.int64]
    sources: UInt8
    logprobs: Float32
    versions: Int32
    constrained: Bool
    call_columns: NDArray[np.float64]
    """[C, 8] the C calls of all rows, with one column for each field of `Call`"""
    call_offsets: NDArray[np.int64]
    rejected: Int32
    """[N, 4] zero, malformed, unterminated, over_limit"""
    finish: UInt8
    texts: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.finish)

    def __getitem__(self, i: int) -> Trajectory:
        tokens = slice(self.token_offsets[i], self.token_offsets[i + 1])
        calls = self.call_columns[self.call_offsets[i] : self.call_offsets[i + 1]]
        return Trajectory(
            prompt_ids=self.prompt_ids[self.prompt_offsets[i] : self.prompt_offsets[i + 1]],
            token_ids=self.token_ids[tokens],
            sources=self.sources[tokens],
            logprobs=self.logprobs[tokens],
            versions=self.versions[tokens],
            constrained=self.constrained[tokens],
            calls=tuple(_call(values) for values in calls),
            rejected=RejectedCommands(*(int(count) for count in self.rejected[i])),
            finish=FinishReason(int(self.finish[i])),
            text=self.texts[i],
        )

    def __iter__(self) -> Iterator[Trajectory]:
        return (self[i] for i in range(len(self)))

    def call_column(self, name: str) -> NDArray[np.float64]:
        """Return one field of all calls, [C], by its name in `Call`."""
        return self.call_columns[:, CALL_COLUMNS.index(name)]

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory]) -> TrajectoryBatch:
        """Return the trajectories as columns, in their order."""
        calls = [astuple(call) for trajectory in trajectories for call in trajectory.calls]
        return cls(
            prompt_ids=_flat([t.prompt_ids for t in trajectories], np.int32),
            prompt_offsets=_offsets(len(t.prompt_ids) for t in trajectories),
            token_ids=_flat([t.token_ids for t in trajectories], np.int32),
            token_offsets=_offsets(len(t.token_ids) for t in trajectories),
            sources=_flat([t.sources for t in trajectories], np.uint8),
            logprobs=_flat([t.logprobs for t in trajectories], np.float32),
            versions=_flat([t.versions for t in trajectories], np.int32),
            constrained=_flat([t.constrained for t in trajectories], np.bool_),
            call_columns=np.asarray(calls, np.float64).reshape(-1, len(CALL_COLUMNS)),
            call_offsets=_offsets(len(t.calls) for t in trajectories),
            rejected=np.asarray(
                [(r.zero, r.malformed, r.unterminated, r.over_limit) for r in (t.rejected for t in trajectories)],
                np.int32,
            ).reshape(-1, 4),
            finish=np.asarray([t.finish for t in trajectories], np.uint8),
            texts=tuple(t.text for t in trajectories),
        )

    @classmethod
    def concatenate(cls, batches: Sequence[TrajectoryBatch]) -> TrajectoryBatch:
        """Return one batch with all rows of all batches, in order."""
        columns: dict[str, object] = {}
        for column in fields(cls):
            parts = [getattr(batch, column.name) for batch in batches]
            if column.name == "texts":
                columns[column.name] = tuple(text for part in parts for text in part)
            elif column.name.endswith("_offsets"):
                columns[column.name] = _offsets(length for part in parts for length in np.diff(part))
            else:
                columns[column.name] = np.concatenate(parts)
        return cls(**columns)  # type: ignore[arg-type]


def _call(values: NDArray[np.float64]) -> Call:
    row = dict(zip(CALL_COLUMNS, values.tolist(), strict=True))
    duration_s, ending = row.pop("duration_s"), CallEnding(int(row.pop("ending")))
    return Call(**{name: int(value) for name, value in row.items()}, duration_s=duration_s, ending=ending)


def _flat(rows: Sequence[NDArray], dtype: type) -> NDArray:
    return np.concatenate([np.asarray(row, dtype) for row in rows]) if rows else np.zeros(0, dtype)


def _offsets(lengths: Iterable[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(list(lengths), dtype=np.int64)]).astype(np.int64)
