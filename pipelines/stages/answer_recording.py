"""Makes the table of answers from graded trajectories."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from actors.relay.grammar import CommandGrammar
from actors.relay.planned_calls import own_tokens
from actors.reward import GradedGroups
from actors.trajectory import TrajectoryBatch
from pipelines.data.problem import Problem
from pipelines.records.answers import AnswerTable, Lists, Texts
from pipelines.records.traces import teacher_answered


def answer_table(
    problems: Sequence[Problem], first: int, batch: TrajectoryBatch, graded: GradedGroups, grammar: CommandGrammar
) -> AnswerTable:
    """Return the answers to consecutive problems. The first problem is number `first` of the evaluation.

    The rows of `batch` are the samples of the first problem, then of the second, and so on. `grammar` is for the
    student's vocabulary.
    """
    samples_per_problem = graded.group_size
    repeated = [problem for problem in problems for _ in range(samples_per_problem)]
    trajectories = list(batch)
    calls = {
        name: _lists(batch, name) for name in ("position", "requested", "written", "prompt_tokens", "cached_tokens")
    }
    return AnswerTable(
        problem=np.repeat(np.arange(first, first + len(problems)), samples_per_problem),
        sample=np.tile(np.arange(samples_per_problem), len(problems)),
        kind=np.asarray([problem.kind for problem in repeated], np.str_),
        question=_texts([problem.question for problem in repeated]),
        gold=_texts([problem.gold for problem in repeated]),
        text=_texts(batch.texts),
        correct=graded.correct,
        timed_out=graded.timed_out,
        cut_off=graded.cut_off,
        teacher_answered=np.asarray([teacher_answered(row, grammar) for row in trajectories], np.bool_),
        output_tokens=graded.output_tokens.astype(np.int64),
        teacher_tokens=graded.teacher_tokens.astype(np.int64),
        own_tokens=np.asarray(
            [own_tokens(row, grammar) if row.teacher_tokens < len(row.token_ids) else 0 for row in trajectories],
            np.int64,
        ),
        prompt_tokens=np.diff(batch.prompt_offsets),
        calls=graded.calls.astype(np.int64),
        failed_calls=graded.failed_calls.astype(np.int64),
        call_positions=calls["position"],
        call_requested=calls["requested"],
        call_written=calls["written"],
        call_prompt_tokens=calls["prompt_tokens"],
        call_cached_tokens=calls["cached_tokens"],
    )


def _lists(batch: TrajectoryBatch, name: str) -> Lists:
    values = batch.call_column(name).astype(np.int64).tolist()
    bounds = batch.call_offsets.tolist()
    return tuple(tuple(values[a:b]) for a, b in itertools.pairwise(bounds))


def _texts(values: Sequence[str]) -> Texts:
    return np.asarray(list(values), np.object_)
