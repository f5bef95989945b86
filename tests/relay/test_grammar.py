"""The command grammar: what is a command, and what is left of tokens when it goes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.relay.grammar import (
    MAX_REQUESTED_TOKENS,
    Command,
    CommandGrammar,
    CommandKind,
    command_text,
    parse_commands,
    token_holding,
    without_commands,
)
from tests.relay.kinds import KINDS, of_kind
from tests.scripted import PieceTokenizer

PIECES = [
    "<call>",
    "</call>",
    "<",
    "</",
    "call",
    ">",
    ">\n",
    "x<",
    "/",
    "1",
    "0",
    "12",
    "a",
    "\n",
    " ",
    "1</call><call>",
]
tokens = st.lists(st.integers(1, len(PIECES)), max_size=30)


def kinds(text: str) -> list[CommandKind]:
    return [command.kind for command in parse_commands(text)]


def grammar(*pieces: str) -> CommandGrammar:
    return CommandGrammar(PieceTokenizer(list(dict.fromkeys([*pieces, *"</call>0123456789 "]))))


def test_digits_between_tags_are_a_command() -> None:
    assert parse_commands("ab<call>20</call>c") == [Command(CommandKind.VALID, 2, 17, 20)]


def test_command_text_is_read_back() -> None:
    assert parse_commands(command_text(7))[0].requested_tokens == 7


@pytest.mark.parametrize("body", ["0", "000"])
def test_zero_tokens_are_a_zero_command(body: str) -> None:
    assert kinds(f"<call>{body}</call>") == [CommandKind.ZERO]


@pytest.mark.parametrize("body", ["", " 5", "5 ", "-3", "+3", "2.5", "five", "٣", "²", "1_000", "5\n"])
def test_anything_but_ascii_digits_is_malformed(body: str) -> None:
    assert kinds(f"<call>{body}</call>") == [CommandKind.MALFORMED]


def test_closing_tag_alone_is_malformed() -> None:
    assert kinds("a</call>b") == [CommandKind.MALFORMED]


def test_opening_tag_without_end_is_unterminated() -> None:
    assert kinds("a<call>12</call") == [CommandKind.UNTERMINATED]


def test_closing_tag_belongs_to_the_nearest_opening_one() -> None:
    assert kinds("<call>1<call>2</call>") == [CommandKind.UNTERMINATED, CommandKind.VALID]


def test_part_of_a_tag_is_no_command() -> None:
    assert kinds("<call </cal l> call>5</ call>") == []


def test_huge_numbers_are_capped() -> None:
    (command,) = parse_commands(f"<call>00{'9' * 100_000}</call>")
    assert command.requested_tokens == MAX_REQUESTED_TOKENS


def test_leading_zeros_do_not_change_the_number() -> None:
    assert parse_commands(f"<call>{'0' * 50}17</call>")[0].requested_tokens == 17


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a <call>5</call> b", "a  b"),
        ("a<call>0</call>b", "ab"),
        ("a<call>five</call>b", "ab"),
        ("a<call>so it is\nfour</call>b", "aso it is\nfourb"),
        ("a<call>12", "a"),
        ("a</call>b", "ab"),
        ("1 < 2 > call", "1 < 2 > call"),
    ],
)
def test_teacher_sees_text_without_commands(text: str, seen: str) -> None:
    assert without_commands(text) == seen


def test_ids_without_commands_stay_as_they_are() -> None:
    ids = [1, 2, 1, 0]
    assert grammar("a", "b").strip(ids) == ids


def test_characters_of_cut_tokens_are_encoded_anew() -> None:
    toy = grammar("x<", "call>5</call", ">\n", "a", "x", "\n")
    assert toy.strip([4, 1, 2, 3, 4]) == [4, 5, 6, 4]


def test_a_command_inside_one_token_leaves_both_sides() -> None:
    toy = grammar("a<call>5</call>b", "a", "b")
    assert toy.strip([1]) == [2, 3]


def test_special_tokens_stay_outside_commands_and_go_inside() -> None:
    toy = grammar("<call>", "5", "</call>")
    assert toy.strip([0, 1, 0, 2, 3, 0]) == [0, 0]


class SplitCharacterTokenizer:
    """Id 1 holds `>` and the first bytes of an arrow, id 2 the last."""

    eos_token_id = 0

    def encode(self, text: str) -> list[int]:
        return [{"→": 9}[character] for character in text] if "<" not in text else [7]

    def decode(self, ids: list[int]) -> str:
        raw = {1: b">" + "→".encode()[:2], 2: "→".encode()[2:], 3: b"<call>5</call"}
        return b"".join(raw[i] for i in ids).decode(errors="replace")


def test_a_cut_token_with_part_of_a_character_loses_nothing() -> None:
    assert CommandGrammar(SplitCharacterTokenizer()).strip([3, 1, 2]) == [9]


@given(tokens)
def test_stripped_ids_read_as_the_stripped_text(ids: list[int]) -> None:
    tokenizer = PieceTokenizer([*PIECES, *"</>calx"])
    stripped = CommandGrammar(tokenizer).strip(ids)
    assert tokenizer.decode(stripped) == without_commands(tokenizer.decode(ids))


@given(tokens)
def test_every_tag_belongs_to_exactly_one_command(ids: list[int]) -> None:
    text = PieceTokenizer(PIECES).decode(ids)
    commands = parse_commands(text)
    pairs = sum(command.kind in (CommandKind.VALID, CommandKind.ZERO) for command in commands)
    bodies = [text[c.start : c.end] for c in commands]
    assert sum(body.count("<call>") + body.count("</call>") for body in bodies) == (
        text.count("<call>") + text.count("</call>")
    )
    assert all(a.end <= b.start for a, b in pairwise(commands))
    assert pairs <= min(text.count("<call>"), text.count("</call>"))


@given(st.lists(st.sampled_from(["", "a", "bc", "def"]), min_size=1), st.data())
def test_token_holding_finds_the_token_of_a_character(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    if not text:
        return
    end = data.draw(st.integers(1, len(text)))
    index = token_holding(pieces, end)
    assert len("".join(pieces[:index])) < end <= len("".join(pieces[: index + 1]))


def test_a_single_call_token_is_banned_and_a_spelt_out_one_is_not() -> None:
    assert grammar("<call>", "<", "call", ">").banned == (1,)
    assert grammar("<", "call", ">", "a").banned == ()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_tokens_side_by_side_read_as_their_text(kind: str) -> None:
    tokenizer = of_kind(kind)
    text = "so <call>12</call> the  sum is\n 42"
    assert "".join(CommandGrammar(tokenizer).pieces(tokenizer.encode(text))) == text


@pytest.mark.parametrize("wanted", ["</call>", "<call"])
@given(ids=tokens)
def test_a_text_ends_with_the_token_that_completes_it(wanted: str, ids: list[int]) -> None:
    mixed = CommandGrammar(PieceTokenizer(PIECES))
    counts = [text.count(wanted) for text in ("".join(mixed.pieces(ids[:i])) for i in range(len(ids) + 1))]
    for i in range(1, len(ids) + 1):
        assert mixed.completes(wanted, ids[:i]) == (counts[i] > counts[i - 1])
