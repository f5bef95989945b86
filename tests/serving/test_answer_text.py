"""The text of an answer is the same however it arrives, and nothing is given out that is not part of it."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.engines.base import Engine, EngineError, Generation, GenerationRequest, OnTokens
from actors.relay.grammar import CommandGrammar, without_commands
from actors.relay.handoff import Handoff, IdHandoff, RelayPrompt, TextHandoff
from actors.relay.loop import relay
from actors.relay.sequence import RelaySequence, RelaySetup
from actors.serving.answer_text import AnswerText
from actors.serving.pieces import Piece
from actors.settings import RelayLimits, SamplingSettings
from actors.trajectory import Source
from tests.scripted import PieceTokenizer, ScriptedEngine

PIECES = ["<", "<call>", "</call>", "call", ">", "/", *"0123456789", "a", "t", " ", "\n", "x<", "b>", "ca", "ll"]
STUDENT = PieceTokenizer(PIECES)
TEACHER = PieceTokenizer([*PIECES, "tt", "at", "ta<"])


class _Recorder:
    """Follows a sequence as the server does, and takes the pieces after each event."""

    def __init__(self, text: AnswerText) -> None:
        self.text = text
        self.taken: list[list[Piece]] = []

    def writes(self, source: Source, ids: list[int], logprobs: list[float]) -> None:
        self.text.writes(source, ids, logprobs)
        self.taken.append(self.text.take())

    def wrote(self, sequence: RelaySequence) -> None:
        self.text.wrote(sequence)
        self.taken.append(self.text.take())

    def pieces(self, cut_off: bool = False) -> list[Piece]:
        self.text.end(cut_off)
        return [piece for taken in [*self.taken, self.text.take()] for piece in taken]


def follow(
    student: Sequence[Sequence[int]],
    teacher: Sequence[Sequence[int]] | Engine,
    handoff: Handoff | None = None,
    teacher_tokenizer: PieceTokenizer = STUDENT,
    stops: Sequence[str] = (),
    max_calls: int = 2,
) -> tuple[RelaySequence, _Recorder]:
    setup = RelaySetup(
        grammar=CommandGrammar(STUDENT),
        handoff=handoff or IdHandoff(),
        limits=RelayLimits(max_new_tokens=30, max_calls=max_calls),
        student_sampling=SamplingSettings(),
        teacher_sampling=SamplingSettings(),
        student_context_tokens=1000,
        teacher_context_tokens=1000,
        want_logprobs=True,
    )
    sequence = RelaySequence(RelayPrompt((1,), (1,)), setup)
    recorder = _Recorder(AnswerText(STUDENT, teacher_tokenizer, setup.handoff, stops))
    recorder.text.begin(sequence)
    turns = iter(student)
    writer = ScriptedEngine(STUDENT, lambda _: next(turns, []))
    helper = teacher
    if isinstance(teacher, Sequence):
        calls = iter(teacher)
        helper = ScriptedEngine(teacher_tokenizer, lambda _: next(calls, []))
    asyncio.run(relay(sequence, writer, helper, recorder))
    return sequence, recorder


def visible(sequence: RelaySequence) -> str:
    """Return the whole text without commands, made from the finished tokens."""
    output = sequence.output
    runs: list[tuple[Source, list[int]]] = []
    for token, source in zip(output.ids, output.sources, strict=True):
        if not runs or runs[-1][0] is not source:
            runs.append((source, []))
        runs[-1][1].append(token)
    texts = [(source, STUDENT.decode(ids)) for source, ids in runs]
    return "".join(text if source is Source.TEACHER else without_commands(text) for source, text in texts)


def ids_of(tokenizer: PieceTokenizer) -> st.SearchStrategy[list[list[int]]]:
    return st.lists(st.lists(st.integers(1, len(tokenizer) - 1), max_size=12), min_size=1, max_size=4)


@given(student=ids_of(STUDENT), teacher=ids_of(STUDENT), max_calls=st.integers(0, 3))
@settings(max_examples=400)
def test_the_pieces_are_the_text_without_commands(
    student: list[list[int]], teacher: list[list[int]], max_calls: int
) -> None:
    sequence, recorder = follow(student, teacher, max_calls=max_calls)

    assert "".join(piece.text for piece in recorder.pieces()) == visible(sequence)


@given(student=ids_of(STUDENT), teacher=ids_of(TEACHER))
@settings(max_examples=400)
def test_a_teacher_with_another_vocabulary_gives_the_same_text(
    student: list[list[int]], teacher: list[list[int]]
) -> None:
    sequence, recorder = follow(student, teacher, TextHandoff(STUDENT, TEACHER), TEACHER)

    assert "".join(piece.text for piece in recorder.pieces()) == visible(sequence)


@given(
    student=ids_of(STUDENT),
    teacher=ids_of(STUDENT),
    stops=st.lists(st.text("at <", min_size=1, max_size=3), max_size=2),
)
@settings(max_examples=400)
def test_a_stop_text_is_found_wherever_it_is_split(
    student: list[list[int]], teacher: list[list[int]], stops: list[str]
) -> None:
    sequence, recorder = follow(student, teacher, stops=stops)

    text = "".join(piece.text for piece in recorder.pieces())
    whole = visible(sequence)
    places = [whole.find(stop) for stop in stops if stop in whole]
    assert text == whole[: min(places, default=len(whole))]
    assert recorder.text.stopped == bool(places)


def test_a_stop_text_across_student_and_teacher() -> None:
    _, recorder = follow([STUDENT.encode("a<call>2</call>")], [STUDENT.encode("tt")], stops=["at"])

    assert recorder.pieces() == []
    assert recorder.text.stop_text == "at"


def test_text_appears_as_soon_as_it_is_certain() -> None:
    _, recorder = follow([STUDENT.encode("aa<call>2</call>")], [STUDENT.encode("tt")])

    texts = ["".join(piece.text for piece in taken) for taken in recorder.taken]
    assert texts[:4] == ["a", "a", "", ""]
    assert "t" in texts


def test_each_piece_names_its_writer_and_its_log_probs() -> None:
    _, recorder = follow([STUDENT.encode("a<call>2</call>")], [STUDENT.encode("tt")])

    pieces = recorder.pieces()
    assert [(piece.text, piece.writer) for piece in pieces] == [
        ("a", Source.STUDENT),
        ("t", Source.TEACHER),
        ("t", Source.TEACHER),
    ]
    (logprob,) = pieces[0].logprobs
    assert logprob.logprob == pytest.approx(-(STUDENT.encode("a")[0] + 1) / 1000)


class _Breaking:
    """Writes all of a script's tokens, and fails."""

    def __init__(self, written: Sequence[Sequence[int]]) -> None:
        self._written = iter(written)

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        assert on_tokens is not None
        for token in next(self._written, [])[: request.max_tokens]:
            on_tokens([token], [0.0])
        raise EngineError("it broke")


@given(student=ids_of(STUDENT), teacher=ids_of(TEACHER), equal=st.booleans())
@settings(max_examples=400)
def test_what_a_call_wrote_before_it_broke_is_part_of_text_and_output(
    student: list[list[int]], teacher: list[list[int]], equal: bool
) -> None:
    other = STUDENT if equal else TEACHER
    teacher = [[token for token in call if token < len(other)] for call in teacher]
    handoff = IdHandoff() if equal else TextHandoff(STUDENT, TEACHER)
    sequence, recorder = follow(student, _Breaking(teacher), handoff, other)

    assert "".join(piece.text for piece in recorder.pieces()) == visible(sequence)


@pytest.mark.parametrize("kept", range(1, len("t1<call>12</call>") + 1))
def test_of_an_answer_that_is_cut_within_a_command_no_part_of_the_command_is_shown(kept: int) -> None:
    letters = PieceTokenizer([*"t12<cal/>"])
    text = AnswerText(letters, letters, IdHandoff())
    ids = letters.encode("t1<call>12</call>"[:kept])
    text.writes(Source.STUDENT, ids, [0.0] * len(ids))
    text.end(cut_off=True)
    assert "".join(piece.text for piece in text.take()) == "t1"[:kept]


def test_an_answer_that_the_student_ends_after_a_bracket_keeps_it() -> None:
    text = AnswerText(STUDENT, STUDENT, IdHandoff())
    ids = STUDENT.encode("1<")
    text.writes(Source.STUDENT, ids, [0.0] * len(ids))
    text.end()
    assert "".join(piece.text for piece in text.take()) == "1<"
