"""Commands in own samples: as many, as large and where the settings say, and the sample itself untouched."""

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.relay.grammar import CommandGrammar, CommandKind, parse_commands
from pipelines.experiment.stages import WarmupSettings
from pipelines.stages.command_insertion import insert_commands
from tests.scripted import PieceTokenizer

PIECES = [*"0123456789", *"+;<> \n", "</", "\\boxed{", "}", "a", "word"]
TOKENIZER = PieceTokenizer([*PIECES, "call"])
GRAMMAR = CommandGrammar(TOKENIZER)
END = TOKENIZER.eos_token_id

samples = st.lists(st.integers(1, len(PIECES)), max_size=40).map(lambda ids: [*ids, END])


def ranges(first: int, last: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(first, last), st.integers(first, last)).map(lambda pair: (min(pair), max(pair)))


warmups = st.builds(WarmupSettings, commands=ranges(0, 4), digits=ranges(1, 9), exponents=ranges(0, 4))


def inserted(sample: list[int], warmup: WarmupSettings, seed: int) -> list[int]:
    return insert_commands(sample, warmup, TOKENIZER.encode, Random(seed))


def numbers_and_tokens_left(ids: list[int]) -> list[tuple[int, int]]:
    """Each command's n, with the tokens of the sample that follow it."""
    text = TOKENIZER.decode(ids)
    found = []
    for command in parse_commands(text):
        assert command.kind is CommandKind.VALID
        follows = GRAMMAR.strip(TOKENIZER.encode(text[command.end :]))
        found.append((command.requested_tokens, len(follows) + 1))
    return found


@given(samples, warmups, st.integers())
@settings(deadline=None)
def test_removing_the_commands_gives_back_the_sample(sample: list[int], warmup: WarmupSettings, seed: int) -> None:
    assert GRAMMAR.strip(inserted(sample, warmup, seed)) == sample


@given(samples, warmups, st.integers())
@settings(deadline=None)
def test_the_number_of_commands_is_in_its_range_unless_the_sample_is_shorter(
    sample: list[int], warmup: WarmupSettings, seed: int
) -> None:
    found = len(parse_commands(TOKENIZER.decode(inserted(sample, warmup, seed))))
    first, last = warmup.commands
    assert min(first, len(sample)) <= found <= last


@given(st.integers(1, 60), warmups, st.integers())
@settings(deadline=None)
def test_a_command_asks_for_a_drawn_number_or_for_all_that_is_left(
    length: int, warmup: WarmupSettings, seed: int
) -> None:
    sample = [*TOKENIZER.encode("a" * (length - 1)), END]
    drawn = {
        digit * 10**exponent
        for digit in range(warmup.digits[0], warmup.digits[1] + 1)
        for exponent in range(warmup.exponents[0], warmup.exponents[1] + 1)
    }
    for asked, left in numbers_and_tokens_left(inserted(sample, warmup, seed)):
        assert asked in drawn | {left}
        assert 1 <= asked <= left


def test_the_defaults_ask_for_one_to_nine_thousand_tokens() -> None:
    sample = [*TOKENIZER.encode("a" * 9999), END]
    settings = WarmupSettings(commands=(1, 1))
    everything = Counter(
        TOKENIZER.decode(inserted(sample, settings, seed)).partition("<call>")[2].partition("</call>")[0]
        for seed in range(600)
    )
    uncapped = {str(digit * 10**exponent) for digit in range(1, 10) for exponent in range(4)}
    assert len(uncapped & everything.keys()) == len(uncapped)


def test_no_command_leaves_the_sample_as_it_is() -> None:
    sample = [*TOKENIZER.encode("1+2;"), END]
    assert inserted(sample, WarmupSettings(commands=(0, 0)), seed=1) == sample


def test_all_positions_are_equally_likely() -> None:
    length, draws = 10, 5000
    sample = [*TOKENIZER.encode("a" * (length - 1)), END]
    warmup = WarmupSettings(commands=(1, 1))
    places = Counter(inserted(sample, warmup, seed).index(TOKENIZER.encode("<")[0]) for seed in range(draws))
    expected = draws / length
    chi_square = sum((places[place] - expected) ** 2 / expected for place in range(length))
    assert sum(places.values()) == draws
    assert chi_square < 27.9  # the 99.9 % quantile with 9 degrees of freedom
