"""A routed answer becomes a trajectory: sources, runs of teacher tokens as calls, endings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.citer.answer import RoutedAnswer
from actors.engines.base import EngineError, Generation, StopReason
from actors.relay.handoff import RelayPrompt
from actors.trajectory import Call, CallEnding, FinishReason, Source, TrajectoryBatch
from tests.scripted import PieceTokenizer

TOKENIZER = PieceTokenizer(["a", "b", "c"])
END = TOKENIZER.eos_token_id
PROMPT = RelayPrompt((1, 2), (3,))


def generation(*tokens: int, stop: StopReason = StopReason.LENGTH) -> Generation:
    count = len(tokens)
    return Generation(
        token_ids=np.array(tokens, np.int32),
        logprobs=np.zeros(count, np.float32),
        versions=np.zeros(count, np.int32),
        stop=stop,
        prompt_tokens=10,
        cached_tokens=8,
    )


def new(begun: tuple[int, ...] = (), max_new_tokens: int = 100) -> RoutedAnswer:
    return RoutedAnswer(PROMPT, begun, max_new_tokens, {END}, END)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([1, 2, 3])), max_size=20))
def test_any_answer_keeps_tokens_and_writers_and_every_teacher_run_is_one_call(tokens: list[tuple[bool, int]]) -> None:
    answer = new()
    for by_teacher, token in tokens:
        if by_teacher:
            answer.teacher_wrote(generation(token), seconds=0.5)
        else:
            answer.student_wrote(token)
    answer.student_wrote(END)
    trajectory = answer.trajectory(TOKENIZER)
    assert trajectory.token_ids.tolist() == [token for _, token in tokens] + [END]
    assert trajectory.sources.tolist() == [Source(by_teacher) for by_teacher, _ in tokens] + [Source.STUDENT]
    assert trajectory.versions.tolist() == [-int(by_teacher) for by_teacher, _ in tokens] + [0]
    runs = [len(list(run)) for by_teacher, run in itertools.groupby(tokens, lambda token: token[0]) if by_teacher]
    assert [(call.requested, call.written, call.duration_s) for call in trajectory.calls] == [
        (length, length, 0.5 * length) for length in runs
    ]
    for call in trajectory.calls:
        assert set(trajectory.sources[call.position : call.position + call.written].tolist()) == {Source.TEACHER}
    assert trajectory.teacher_tokens == sum(runs)
    assert TrajectoryBatch.of([trajectory])[0].calls == trajectory.calls


def test_the_teachers_end_of_text_ends_the_answer_as_the_students_token() -> None:
    answer = new()
    answer.student_wrote(1)
    answer.teacher_wrote(generation(2), seconds=1.0)
    answer.teacher_wrote(generation(99, stop=StopReason.END_OF_TEXT), seconds=1.0)
    trajectory = answer.trajectory(TOKENIZER)
    assert trajectory.finish is FinishReason.TEACHER_END
    assert trajectory.token_ids.tolist() == [1, 2, END]
    (call,) = trajectory.calls
    assert (call.position, call.written, call.ending) == (1, 2, CallEnding.END_OF_TEXT)


def test_the_students_end_of_text_ends_the_answer() -> None:
    answer = new()
    answer.student_wrote(1)
    assert answer.finish is None
    answer.student_wrote(END)
    assert answer.finish is FinishReason.STUDENT_END


@pytest.mark.parametrize("by_teacher", [True, False])
def test_the_token_limit_ends_the_answer(by_teacher: bool) -> None:
    answer = new(max_new_tokens=2)
    answer.student_wrote(1)
    if by_teacher:
        answer.teacher_wrote(generation(2), seconds=0.0)
    else:
        answer.student_wrote(2)
    assert answer.finish is FinishReason.LENGTH


def test_output_that_was_begun_counts_as_the_students() -> None:
    answer = new(begun=(1, 2))
    answer.teacher_wrote(generation(3, stop=StopReason.END_OF_TEXT), seconds=0.0)
    assert answer.trajectory(TOKENIZER).sources.tolist() == [Source.STUDENT, Source.STUDENT, Source.TEACHER]


def test_output_that_was_begun_with_its_end_is_finished() -> None:
    assert new(begun=(1, END)).finish is FinishReason.STUDENT_END


def test_a_failed_request_is_a_call_without_tokens_and_makes_the_trajectory_untrainable() -> None:
    answer = new()
    answer.teacher_wrote(generation(1), seconds=0.0)
    answer.teacher_did_not_write(seconds=2.0)
    answer.student_wrote(END)
    trajectory = answer.trajectory(TOKENIZER)
    failed = Call(position=1, requested=1, written=0, duration_s=2.0, ending=CallEnding.FAILED)
    assert trajectory.calls[1] == failed
    assert not trajectory.trainable


def test_a_teacher_that_writes_more_than_one_token_breaks_its_contract() -> None:
    with pytest.raises(EngineError, match="2 tokens where 1"):
        new().teacher_wrote(generation(1, 2), seconds=0.0)


def test_a_run_of_teacher_tokens_costs_what_its_requests_cost() -> None:
    answer = new()
    answer.teacher_wrote(generation(1), 0.1)
    answer.teacher_wrote(generation(2), 0.1)
    answer.student_wrote(END)
    (call,) = answer.trajectory(TOKENIZER).calls
    assert (call.written, call.prompt_tokens, call.cached_tokens) == (2, 20, 16)
