"""Answers and their calls are counted from the columns of finished orders."""

from __future__ import annotations

from collections import Counter

import numpy as np

from actors.answer_counts import AnswerCounts
from actors.trajectory import Call, CallEnding, FinishReason, RejectedCommands, Source, Trajectory, TrajectoryBatch


def answer(sources: list[Source], *calls: Call) -> Trajectory:
    count = len(sources)
    return Trajectory(
        prompt_ids=np.array([1], np.int32),
        token_ids=np.arange(count, dtype=np.int32),
        sources=np.array(sources, np.uint8),
        logprobs=np.zeros(count, np.float32),
        versions=np.zeros(count, np.int32),
        constrained=np.zeros(count, np.bool_),
        calls=calls,
        rejected=RejectedCommands(),
        finish=FinishReason.STUDENT_END,
        text="",
    )


BATCH = TrajectoryBatch.of(
    [
        answer(
            [Source.STUDENT] * 3 + [Source.TEACHER] * 2,
            Call(position=3, requested=2, written=2, duration_s=0.5, ending=CallEnding.COMPLETED),
            Call(position=5, requested=9, written=0, duration_s=4.0, ending=CallEnding.FAILED),
        ),
        answer([Source.STUDENT]),
    ]
)


def test_tokens_and_calls_are_counted_by_kind() -> None:
    counts = AnswerCounts()
    counts.count(BATCH)
    counts.count(BATCH)
    found = Counter({(r.name, *r.tags.values()): r.value for r in counts.readings()})
    assert found["relayllm_answers",] == 4
    assert found["relayllm_output_tokens", "student"] == 8 and found["relayllm_output_tokens", "teacher"] == 4
    assert found["relayllm_calls", "completed"] == 2 and found["relayllm_calls", "failed"] == 2


def test_each_call_is_observed_once_and_a_failed_one_has_no_length() -> None:
    counts = AnswerCounts()
    counts.count(BATCH)
    first = [(r.name, r.value) for r in counts.readings() if r.name.startswith("relayllm_call_")]
    assert first == [("relayllm_call_seconds", 0.5), ("relayllm_call_seconds", 4.0), ("relayllm_call_tokens", 2.0)]
    assert not [r for r in counts.readings() if r.name.startswith("relayllm_call_")]


def test_an_order_is_in_progress_until_it_ends_or_fails() -> None:
    counts = AnswerCounts()
    try:
        with counts.order(8), counts.order(4):
            assert counts.in_progress == 12
            raise ValueError
    except ValueError:
        assert counts.in_progress == 0
