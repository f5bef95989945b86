"""Traces: who wrote which part of an answer."""

from dataclasses import replace

import numpy as np
import pytest

from actors.relay.grammar import CommandGrammar
from actors.trajectory import Call, CallEnding, FinishReason, RejectedCommands, Source, Trajectory
from pipelines.data.problem import Problem
from pipelines.records.traces import Segment, TracedCall, segments, teacher_answered, trace_of
from tests.scripted import PieceTokenizer

TOKENIZER = PieceTokenizer(
    ["ab", "c<", "call", ">", "2", "</", ">d", "x", "<call>", "\\boxed{4}", "\\boxed{", "\\bo", "xed{", "}", "4}", " "]
)
GRAMMAR = CommandGrammar(TOKENIZER)


def written(*parts: tuple[Source, str], calls: tuple[Call, ...] = ()) -> Trajectory:
    encoded = [(source, TOKENIZER.encode(text)) for source, text in parts]
    ids = [token for _, tokens in encoded for token in tokens]
    return Trajectory(
        prompt_ids=np.zeros(1, np.int32),
        token_ids=np.array(ids, np.int32),
        sources=np.array([source for source, tokens in encoded for _ in tokens], np.uint8),
        logprobs=np.zeros(len(ids), np.float32),
        versions=np.zeros(len(ids), np.int32),
        constrained=np.zeros(len(ids), np.bool_),
        calls=calls,
        rejected=RejectedCommands(),
        finish=FinishReason.STUDENT_END,
        text=TOKENIZER.decode(ids),
    )


def parts(*texts: tuple[Source, str]) -> list[tuple[str, str]]:
    return [(segment.source, segment.text) for segment in segments(written(*texts), GRAMMAR)]


def test_student_command_and_teacher_are_parts_of_their_own() -> None:
    answer = [(Source.STUDENT, "ab<call>2</call>"), (Source.TEACHER, "xx"), (Source.STUDENT, "ab")]
    assert parts(*answer) == [("student", "ab"), ("command", "<call>2</call>"), ("teacher", "xx"), ("student", "ab")]


def test_a_command_is_cut_out_of_the_tokens_that_it_shares() -> None:
    assert parts((Source.STUDENT, "c<call>2</call>d")) == [
        ("student", "c"),
        ("command", "<call>2</call>"),
        ("student", "d"),
    ]


def test_a_command_that_the_teacher_wrote_is_the_teachers_text() -> None:
    assert parts((Source.STUDENT, "ab"), (Source.TEACHER, "<call>2</call>")) == [
        ("student", "ab"),
        ("teacher", "<call>2</call>"),
    ]


def test_a_command_with_a_teachers_token_in_it_is_none() -> None:
    answer = [(Source.STUDENT, "<call>"), (Source.TEACHER, "2"), (Source.STUDENT, "</call>")]
    assert parts(*answer) == [("student", "<call>"), ("teacher", "2"), ("student", "</call>")]


def test_an_empty_answer_has_no_parts() -> None:
    assert parts() == []


def test_a_trace_says_what_was_asked_answered_and_called() -> None:
    call = Call(position=1, requested=5, written=2, duration_s=0.1, ending=CallEnding.END_OF_TEXT)
    answer = written((Source.STUDENT, "<call>2</call>"), (Source.TEACHER, "x\\boxed{4}"), calls=(call,))
    trace = trace_of(answer, Problem("2+2", "4", "known"), True, GRAMMAR, "final", step=7, policy="relay")
    assert (trace.name, trace.step, trace.policy, trace.kind) == ("final", 7, "relay", "known")
    assert (trace.problem, trace.gold, trace.answer, trace.correct) == ("2+2", "4", "4", True)
    assert trace.calls == (TracedCall(requested=5, written=2, ending="end_of_text"),)
    assert trace.segments == (Segment("command", "<call>2</call>"), Segment("teacher", "x\\boxed{4}"))
    assert trace.output == answer.text


STUDENT, TEACHER = Source.STUDENT, Source.TEACHER


def test_an_answer_that_the_teacher_wrote_alone_is_one_part_in_any_vocabulary() -> None:
    alone = replace(written((TEACHER, "ab<call>2</call>x")), token_ids=np.array([10**6], np.int32))
    alone = replace(alone, sources=np.array([TEACHER], np.uint8))
    assert segments(alone, GRAMMAR) == (Segment("teacher", "ab<call>2</call>x"),)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            [(STUDENT, "ab<call>2</call>"), (TEACHER, "x")],
            [("student", "ab", True), ("command", "<call>2</call>", False), ("teacher", "x", True)],
        ),
        (
            [(STUDENT, "<call>"), (TEACHER, "2"), (STUDENT, "</call>x")],
            [
                ("student", "<call>", False),
                ("teacher", "2", False),
                ("student", "</call>", False),
                ("student", "x", True),
            ],
        ),
        ([(STUDENT, "ab<call>2x")], [("student", "ab", True), ("command", "<call>2", False), ("student", "x", True)]),
        ([(STUDENT, "ab")], [("student", "ab", True)]),
    ],
)
def test_what_grading_leaves_out_is_told_from_what_it_reads(
    answer: list[tuple[Source, str]], expected: list[tuple[str, str, bool]]
) -> None:
    trace = trace_of(written(*answer), Problem("2+2", "4", "known"), True, GRAMMAR, "final", 0, "relay")
    assert [(part.source, part.text, part.graded) for part in trace.shown_parts] == expected
    assert "".join(part.text for part in trace.shown_parts) == trace.output


def test_the_answer_of_a_trace_is_the_one_that_is_graded() -> None:
    answer = written((STUDENT, r"\boxed{<call>2</call>"), (TEACHER, "4}"))
    assert trace_of(answer, Problem("2+2", "4", "known"), True, GRAMMAR, "final", 0, "relay").answer == "4"


@pytest.mark.parametrize(
    ("answer", "by_teacher"),
    [
        ([(STUDENT, r"\boxed{4}")], False),
        ([(STUDENT, "ab"), (TEACHER, r"\boxed{4}")], True),
        ([(STUDENT, r"\boxed{"), (TEACHER, "2"), (STUDENT, "}")], True),
        ([(STUDENT, r"\boxed{2"), (TEACHER, "2"), (STUDENT, "2}")], True),
        ([(STUDENT, r"\boxed{<call>2</call>"), (TEACHER, "4}"), (STUDENT, "ab")], True),
        ([(TEACHER, r"\boxed{"), (STUDENT, "2"), (TEACHER, "}")], False),
        ([(STUDENT, r"\boxed{"), (TEACHER, " "), (STUDENT, "2}")], False),
        ([(TEACHER, r"\boxed{4}"), (STUDENT, r"x\boxed{4}")], False),
        ([(TEACHER, r"\boxed{4}"), (STUDENT, r"x\boxed{")], True),
        ([(STUDENT, r"\bo<call>2</call>"), (TEACHER, "xed{2"), (STUDENT, "}")], True),
        ([(STUDENT, "ab"), (TEACHER, "x")], False),
        ([(TEACHER, r"ab\boxed{2}")], True),
        ([(TEACHER, "ab")], False),
    ],
)
def test_the_teacher_answered_if_some_of_the_final_box_is_its_own(
    answer: list[tuple[Source, str]], by_teacher: bool
) -> None:
    assert teacher_answered(written(*answer), GRAMMAR) is by_teacher


def test_an_answer_of_the_teacher_alone_may_have_any_vocabulary() -> None:
    alone = replace(written((TEACHER, r"\boxed{4}")), token_ids=np.array([10**6], np.int32))
    assert teacher_answered(alone, GRAMMAR)
