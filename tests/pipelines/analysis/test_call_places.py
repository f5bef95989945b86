"""Where the calls of chain arithmetic stand."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.relay.grammar import command_text
from actors.tiny_models import write_tokenizer
from pipelines.analysis.call_places import CallPlaces, call_places, split_tokens
from pipelines.data.chain_arithmetic.knowledge import knowledge_of

QUESTION = "47+35*07"


def relayed(parts: list[str | tuple[int, str]], vocabulary: str = "text") -> dict:
    """A row for text that the student wrote, and calls as (n, what the teacher wrote)."""
    text, calls = "", []
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        requested, written = part
        text += command_text(requested)
        calls.append((len(split_tokens(text, vocabulary)), requested, len(written), 9, 0))
        text += written
    return {
        "text": text,
        "question": QUESTION,
        "calls": tuple(calls),
        "output_tokens": len(split_tokens(text, vocabulary)) + 1,
    }


@pytest.mark.parametrize("vocabulary", ["text", "special"])
def test_a_call_for_exactly_the_unknown_result_is_the_best_one(table_of, vocabulary) -> None:
    row = relayed(["47+35=82;82*07=", (2, "74"), ";\\boxed{74}"], vocabulary)
    assert call_places(table_of([row]), vocabulary) == CallPlaces(
        calls=1, at_need=1, exact=1, covering=0, needed=1, written_by_teacher=1
    )


def test_a_longer_call_at_need_is_not_exact(table_of) -> None:
    found = call_places(table_of([relayed(["47+35=82;82*07=", (5, "74;\\b")])]), "text")
    assert (found.at_need, found.exact, found.written_by_teacher) == (1, 0, 1)


def test_a_call_that_begins_earlier_covers_the_result(table_of) -> None:
    found = call_places(table_of([relayed(["47+35=82;82*", (5, "07=74"), ";\\boxed{74}"])]), "text")
    assert (found.at_need, found.covering, found.written_by_teacher) == (0, 1, 1)
    assert (found.precision, found.recall) == (0.0, 1.0)


def test_a_call_for_half_of_the_result_brings_none(table_of) -> None:
    found = call_places(table_of([relayed(["47+35=82;82*07=", (1, "7"), "4;\\boxed{74}"])]), "text")
    assert (found.at_need, found.exact, found.written_by_teacher) == (1, 0, 0)


def test_a_call_before_a_known_result_is_not_needed(table_of) -> None:
    found = call_places(table_of([relayed(["47+35=", (2, "82"), ";82*07=71;\\boxed{71}"])]), "text")
    assert (found.calls, found.at_need, found.covering, found.recall) == (1, 0, 0, 0.0)


def test_a_command_that_was_not_executed_is_no_call_and_does_not_hide_the_place(table_of) -> None:
    row = relayed(["47+35=82;<call>0</call>82*07=<call>x</call>", (2, "74"), ";\\boxed{74}"])
    found = call_places(table_of([row]), "text")
    assert (found.calls, found.at_need, found.exact) == (1, 1, 1)


def test_a_call_without_a_command_is_placed_by_its_position(table_of) -> None:
    text = "47+35=82;82*07=74;\\boxed{74}"
    calls = ((len("47+35=82;82*07="), 2, 2, 9, 0), (3, 2, 2, 9, 0))
    found = call_places(table_of([{"text": text, "question": QUESTION, "calls": calls}]), "text")
    assert (found.calls, found.at_need, found.exact) == (2, 1, 1)


def test_a_failed_call_stands_where_it_stands_and_brings_nothing(table_of) -> None:
    row = relayed(["47+35=82;82*07=", (2, ""), "11;\\boxed{11}"])
    found = call_places(table_of([row]), "text")
    assert (found.at_need, found.exact, found.written_by_teacher) == (1, 0, 0)


def test_operations_after_their_numbers_are_read_as_well(table_of) -> None:
    row = relayed(["47 35+=82;82 07*=", (2, "74"), ";\\boxed{74}"]) | {"question": "47 35+ 07*"}
    found = call_places(table_of([row]), "text")
    assert (found.at_need, found.exact, found.needed) == (1, 1, 1)


def test_without_calls_or_need_there_are_no_shares(table_of) -> None:
    found = call_places(table_of([{"question": "47+35", "text": "47+35=82;\\boxed{82}"}]), "text")
    assert found.precision is None
    assert found.recall is None


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict:
    from transformers import AutoTokenizer

    def made(vocabulary: str) -> object:
        folder: Path = tmp_path_factory.mktemp(vocabulary)
        write_tokenizer(folder, vocabulary)
        return AutoTokenizer.from_pretrained(folder)

    return {vocabulary: made(vocabulary) for vocabulary in ("text", "special")}


@pytest.mark.parametrize("vocabulary", ["text", "special"])
@given(parts=st.lists(st.sampled_from([*"0123456789+-*?=; }<>", "</", "call", "<call>", "</call>", "\\boxed{"])))
def test_tokens_are_split_as_the_tiny_models_do(tokenizers, vocabulary, parts) -> None:
    text = "".join(parts)
    tokenizer = tokenizers[vocabulary]
    pieces = [tokenizer.decode([token]) for token in tokenizer.encode(text, add_special_tokens=False)]
    assert split_tokens(text, vocabulary) == pieces


def test_what_only_the_teacher_knows_follows_from_the_skill_of_both(table_of) -> None:
    row = relayed(["47+35=82;82*07=", (2, "74"), ";\\boxed{74}"])
    skilled, weak = knowledge_of("student", 1.0), knowledge_of("teacher", 0.0)
    for found in (
        call_places(table_of([row]), "text", student=skilled),
        call_places(table_of([row]), "text", teacher=weak),
    ):
        assert (found.calls, found.at_need, found.exact, found.needed, found.written_by_teacher) == (1, 0, 0, 0, 0)


def test_a_comparison_of_equal_numbers_needs_no_teacher(table_of) -> None:
    row = relayed(["47>47=", (2, "47"), ";\\boxed{47}"]) | {"question": "47>47"}
    found = call_places(table_of([row]), "text")
    assert (found.at_need, found.needed, found.written_by_teacher) == (0, 0, 0)
