"""The hand-off between student and teacher vocabularies."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.engines.base import Conversation, GenerationRequest, Message
from actors.relay.grammar import CommandGrammar, command_text, without_commands
from actors.relay.handoff import ConversationHandoff, IdHandoff, RelayPrompt, TextHandoff, whole_text
from actors.relay.tokenizer import TransformersTokenizer
from actors.settings import SamplingSettings
from tests.relay.kinds import KINDS, of_kind
from tests.scripted import PieceTokenizer

PROMPT = RelayPrompt(student_ids=(1, 2), teacher_ids=(3,))
WORDS = PieceTokenizer(["one ", "two "])
LETTERS = PieceTokenizer([*"onetw "])

tokenizer_of = cache(of_kind)
kinds = st.sampled_from(sorted(KINDS))
texts = st.lists(
    st.sampled_from([" ", "  ", "the", " sum", "42", "\n", "<", "call", ">", "é", "答案", "🙂", "\ufffd", "x"]),
    max_size=12,
).map("".join)


def test_equal_vocabularies_pass_ids_through() -> None:
    handoff = IdHandoff()
    assert handoff.teacher_context(PROMPT, [7, 8]) == [3, 7, 8]
    assert handoff.student_ids([9]) == [9]


def test_different_vocabularies_pass_text() -> None:
    handoff = TextHandoff(student=WORDS, teacher=LETTERS)
    assert handoff.teacher_context(PROMPT, [1, 2]) == [3, *LETTERS.encode("one two ")]
    assert handoff.student_ids(LETTERS.encode("two one ")) == [2, 1]


def test_a_conversation_carries_the_text_and_counts_the_teachers_tokens() -> None:
    asked = Conversation((Message("user", "q"),), "<q>")
    handoff = ConversationHandoff(student=WORDS, teacher=LETTERS)
    context = handoff.teacher_context(RelayPrompt((1, 2), (3,), asked), [1, 2])
    assert context == [3, *LETTERS.encode("one two ")]
    request = GenerationRequest(context, 4, SamplingSettings())
    assert request.conversation == Conversation(asked.messages, "<q>", "one two ")
    assert handoff.student_ids([2, 1]) == [2, 1]  # the engine has encoded the text already


def test_ids_alone_are_no_conversation() -> None:
    assert GenerationRequest([1], 4, SamplingSettings()).conversation is None
    assert RelayPrompt((1,), (2,)).teacher_context == (2,)


def test_special_tokens_do_not_cross_as_text() -> None:
    assert TextHandoff(student=WORDS, teacher=LETTERS).teacher_context(PROMPT, [1, 0]) == [3, *LETTERS.encode("one ")]


@given(kinds, kinds, texts, texts)
def test_what_the_teacher_adds_is_its_text_whatever_the_tokenizers(
    student: str, teacher: str, before: str, after: str
) -> None:
    own, other = tokenizer_of(student), tokenizer_of(teacher)
    handoff = TextHandoff(own, other)
    so_far = own.encode(before)
    context = handoff.teacher_context(PROMPT, so_far)
    assert other.decode(context[1:]) == before
    assert own.decode([*so_far, *handoff.student_ids(other.encode(after))]) == before + after


@given(kinds, texts, st.data())
def test_spans_side_by_side_are_the_text(kind: str, text: str, data: st.DataObject) -> None:
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text)
    ends = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=4)))
    spans = [tokenizer.decode(ids[a:b]) for a, b in zip([0, *ends], [*ends, len(ids)], strict=True)]
    whole = [whole_text(tokenizer, ids[:end]) == tokenizer.decode(ids[:end]) for end in ends]
    if all(whole):
        assert "".join(spans) == text


@given(kinds, texts, st.data())
def test_a_command_among_tokens_comes_out_without_a_trace(kind: str, text: str, data: st.DataObject) -> None:
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text)
    place = data.draw(st.integers(0, len(ids)))
    if not (whole_text(tokenizer, ids[:place]) == tokenizer.decode(ids[:place]) and "<" not in text):
        return
    with_command = [*ids[:place], *tokenizer.encode(command_text(12)), *ids[place:]]
    grammar = CommandGrammar(tokenizer)
    assert without_commands(tokenizer.decode(with_command)) == text
    assert tokenizer.decode(grammar.strip(with_command)) == text


@given(kinds, texts.filter(bool), st.integers(1, 3))
def test_only_an_unfinished_last_character_is_dropped(kind: str, text: str, missing: int) -> None:
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text)[:-missing]
    kept = whole_text(tokenizer, ids)
    assert text.startswith(kept)
    assert len(tokenizer.encode(kept)) >= len(ids) - 3


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_whole_characters_stay_before_one_that_is_cut(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    assert whole_text(tokenizer, tokenizer.encode("so 答案🙂")[:-1]) == "so 答案"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_replacement_character_that_was_written_stays(kind: str) -> None:
    tokenizer: TransformersTokenizer = tokenizer_of(kind)
    assert whole_text(tokenizer, tokenizer.encode("a\ufffd")) == "a\ufffd"
