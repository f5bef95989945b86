"""The random numbers of a turn follow from the run's seed, the problem, the sample and the turn alone."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actors.relay.grammar import CALL_CLOSE, CommandGrammar
from actors.relay.handoff import IdHandoff, RelayPrompt
from actors.relay.loop import relay_all
from actors.relay.seeds import derived_seed
from actors.relay.sequence import RelaySetup
from actors.settings import RelayLimits, SamplingSettings
from tests.scripted import PieceTokenizer, ScriptedEngine

TOKENIZER = PieceTokenizer(["<call>", "</call>", "<", "call", ">", *"/1ab "])
TURN = TOKENIZER.encode("a<call>1</call>")


def seeds_of_turns(seeds: list[int] | None, count: int) -> list[tuple[int | None, ...]]:
    """Return the seeds of each sequence's requests: student, teacher, student, …"""
    setup = RelaySetup(
        grammar=CommandGrammar(TOKENIZER),
        handoff=IdHandoff(),
        limits=RelayLimits(max_new_tokens=100, max_calls=2),
        student_sampling=SamplingSettings(),
        teacher_sampling=SamplingSettings(),
        student_context_tokens=1000,
        teacher_context_tokens=1000,
    )
    prompts = [RelayPrompt((900 + i,), (900 + i,)) for i in range(count)]
    requests: dict[int, list[int | None]] = {900 + i: [] for i in range(count)}

    async def note(request: Any) -> None:
        requests[request.prompt_ids[0]].append(request.seed)

    student = ScriptedEngine(TOKENIZER, lambda request: TURN if request.stop_text == CALL_CLOSE else [], before=note)
    teacher = ScriptedEngine(TOKENIZER, lambda _: TOKENIZER.encode("b"), before=note)
    asyncio.run(relay_all(prompts, setup, student, teacher, seeds=seeds))
    return [tuple(found) for found in requests.values()]


def test_every_turn_of_every_sequence_has_a_seed_of_its_own() -> None:
    turns = seeds_of_turns([1, 2, 3], 3)
    assert [len(found) for found in turns] == [5, 5, 5]
    assert len({seed for found in turns for seed in found}) == 15


def test_a_sequence_has_the_same_seeds_whatever_is_decoded_beside_it() -> None:
    assert seeds_of_turns([7, 8, 9], 3)[1:] == seeds_of_turns([8, 9], 2)


def test_without_seeds_random_numbers_are_the_engines() -> None:
    assert seeds_of_turns(None, 1) == [(None,) * 5]


@given(st.lists(st.integers() | st.text("ab/", max_size=3), min_size=1, max_size=4))
def test_a_derived_seed_fits_into_63_bits_and_is_always_the_same(parts: list[int | str]) -> None:
    assert 0 <= derived_seed(*parts) < 2**63
    assert derived_seed(*parts) == derived_seed(*parts)


def test_derived_seeds_are_those_of_every_process() -> None:
    assert derived_seed(0, "grpo", 5) == 7864723337975802575
