"""The hand-off between student and teacher vocabularies."""

from actors.engines.scripted import PieceTokenizer
from actors.relay.handoff import IdHandoff, RelayPrompt, TextHandoff

PROMPT = RelayPrompt(student_ids=(1, 2), teacher_ids=(3,))
WORDS = PieceTokenizer(["one ", "two "])
LETTERS = PieceTokenizer([*"onetw ", "\ufffd"])


def test_equal_vocabularies_pass_ids_through() -> None:
    handoff = IdHandoff()
    assert handoff.teacher_context(PROMPT, [7, 8]) == [3, 7, 8]
    assert handoff.student_ids([9]) == [9]


def test_different_vocabularies_pass_text() -> None:
    handoff = TextHandoff(student=WORDS, teacher=LETTERS)
    assert handoff.teacher_context(PROMPT, [1, 2]) == [3, *LETTERS.encode("one two ")]
    assert handoff.student_ids(LETTERS.encode("two one ")) == [2, 1]


def test_special_tokens_do_not_cross_as_text() -> None:
    assert TextHandoff(student=WORDS, teacher=LETTERS).teacher_context(PROMPT, [1, 0]) == [3, *LETTERS.encode("one ")]


def test_an_unfinished_last_character_is_dropped() -> None:
    assert TextHandoff(student=WORDS, teacher=LETTERS).student_ids(LETTERS.encode("one \ufffd")) == [1]
