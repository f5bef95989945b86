"""The answers of one policy in one evaluation, as columns on disk. Every comparison is computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ANSWERS = "answers.parquet"
"""name of the table's file in the folder of an evaluation stage"""

Int = NDArray[np.int64]
Lists = tuple[tuple[int, ...], ...]
Texts = NDArray[np.object_]

_LISTS = ("call_positions", "call_requested", "call_written", "call_prompt_tokens", "call_cached_tokens")
_FORMAT = b"3"


class AnswersError(ValueError):
    """A file is not a table of answers; the message names it."""


@dataclass(frozen=True, slots=True, eq=False)
class AnswerTable:
    """N answers, sorted by problem and sample. Texts are Python strings: NumPy's would all be as long as the longest."""

    problem: Int
    """[N] index in the evaluation's problems: equal in all tables of the same problems"""
    sample: Int
    """[N] 0 .. samples of its problem - 1"""
    kind: NDArray[np.str_]
    """[N] the group that results are reported by"""
    question: Texts
    gold: Texts
    text: Texts
    """[N] the output, commands included"""
    correct: NDArray[np.bool_]
    timed_out: NDArray[np.bool_]
    """[N] counted as wrong because grading ran into its deadline"""
    cut_off: NDArray[np.bool_]
    """[N] the answer ended at a limit and not by an end of text"""
    teacher_answered: NDArray[np.bool_]
    """[N] the teacher wrote some of the final answer's box"""
    output_tokens: Int
    """[N] all output tokens: student, command and teacher"""
    teacher_tokens: Int
    """[N] output tokens that the teacher wrote"""
    own_tokens: Int
    """[N] tokens that the student wrote, without commands; places for planned calls are drawn among them"""
    prompt_tokens: Int
    """[N] tokens of the prompt, as the model that began the answer reads it"""
    calls: Int
    """[N] executed calls, failed ones included"""
    failed_calls: Int
    """[N] of these, calls that the teacher failed or did not answer in time"""
    call_positions: Lists
    """[N][calls] index in the output of the first token after each command"""
    call_requested: Lists
    """[N][calls] tokens that the teacher was to write"""
    call_written: Lists
    """[N][calls] tokens that the teacher wrote"""
    call_prompt_tokens: Lists
    """[N][calls] tokens of the teacher's context at each call: what it has to prefill"""
    call_cached_tokens: Lists
    """[N][calls] of these, tokens that the teacher's prefix cache held"""

    def __len__(self) -> int:
        return len(self.problem)

    @property
    def problems(self) -> int:
        return len(np.unique(self.problem))

    @classmethod
    def joined(cls, tables: Sequence[AnswerTable]) -> AnswerTable:
        """Return the rows of all tables, sorted by problem and sample."""
        columns: dict[str, Any] = {}
        order = np.lexsort([np.concatenate([getattr(t, name) for t in tables]) for name in ("sample", "problem")])
        for column in fields(cls):
            parts = [getattr(table, column.name) for table in tables]
            if column.name in _LISTS:
                rows = list(chain.from_iterable(parts))
                columns[column.name] = tuple(rows[i] for i in order)
            else:
                columns[column.name] = np.concatenate(parts)[order]
        return cls(**columns)

    def where(self, rows: NDArray[np.bool_]) -> AnswerTable:
        """Return the rows that are true in `rows` [N]."""
        chosen = np.flatnonzero(rows)
        columns: dict[str, Any] = {
            column.name: tuple(getattr(self, column.name)[i] for i in chosen)
            if column.name in _LISTS
            else getattr(self, column.name)[chosen]
            for column in fields(self)
        }
        return AnswerTable(**columns)

    def of_kind(self, kind: str) -> AnswerTable:
        return self.where(self.kind == kind)

    def to_bytes(self) -> bytes:
        """Return the table as a Parquet file."""
        table = pa.table({column.name: _arrow(getattr(self, column.name)) for column in fields(self)})
        buffer = BytesIO()
        pq.write_table(table.replace_schema_metadata({b"relay_answers": _FORMAT}), buffer, compression="zstd")
        return buffer.getvalue()

    @classmethod
    def read(cls, path: Path) -> AnswerTable:
        """Return the table that `to_bytes` wrote. Raises `AnswersError` if the file is no such table."""
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise AnswersError(f"{path}: cannot be read as Parquet: {error}") from error
        if (table.schema.metadata or {}).get(b"relay_answers") != _FORMAT:
            raise AnswersError(f"{path}: not a table of answers of this version; evaluate again")
        columns: dict[str, Any] = {}
        for column in fields(cls):
            values = table.column(column.name)
            if column.name in _LISTS:
                columns[column.name] = tuple(tuple(row) for row in values.to_pylist())
            elif pa.types.is_string(values.type):
                columns[column.name] = np.asarray(values.to_pylist(), np.str_ if column.name == "kind" else np.object_)
            else:
                columns[column.name] = values.to_numpy()
        return cls(**columns)


def _arrow(column: NDArray[np.generic] | Sequence[Sequence[int]]) -> pa.Array:
    if isinstance(column, np.ndarray):
        return pa.array(column.tolist(), pa.string()) if column.dtype.kind in "UO" else pa.array(column)
    return pa.array([list(row) for row in column], pa.list_(pa.int64()))
