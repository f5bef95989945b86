"""The scripted engine keeps the engine contract, so that tests over it mean something."""

import asyncio
from typing import Any

import pytest

from actors.engines.base import EngineError, Generation, GenerationRequest, StopReason
from actors.relay.grammar import CALL_CLOSE, CALL_START
from actors.settings import SamplingSettings
from tests.scripted import PieceTokenizer, ScriptedEngine

TOKENIZER = PieceTokenizer(["a", "<", "call", ">", "</", ">\n", "<call>", *"0123456789", *"cl/ "])


def request(max_tokens: int = 50, **options: Any) -> GenerationRequest:
    return GenerationRequest([1], max_tokens, SamplingSettings(), **options)


def generate(engine: ScriptedEngine, of: GenerationRequest) -> Generation:
    return asyncio.run(engine.generate(of))


def test_pieces_are_encoded_longest_first() -> None:
    assert TOKENIZER.encode("a<call></call>\n") == [1, 7, 5, 3, 6]
    assert TOKENIZER.decode([1, 7, 5, 3, 6, 0]) == "a<call></call>\n"


def test_text_without_pieces_is_refused() -> None:
    with pytest.raises(ValueError, match="no piece fits"):
        TOKENIZER.encode("aü")


def test_an_output_ends_with_end_of_text() -> None:
    written = generate(ScriptedEngine(TOKENIZER, [[1, 1]]), request())
    assert (written.token_ids.tolist(), written.stop) == ([1, 1, 0], StopReason.END_OF_TEXT)


def test_nothing_follows_end_of_text() -> None:
    assert generate(ScriptedEngine(TOKENIZER, [[1, 0, 1]]), request()).token_ids.tolist() == [1, 0]


def test_max_tokens_cuts() -> None:
    written = generate(ScriptedEngine(TOKENIZER, [[1, 1, 1]]), request(max_tokens=2))
    assert (written.token_ids.tolist(), written.stop) == ([1, 1], StopReason.LENGTH)


def test_a_turn_stops_with_the_token_that_completes_a_command() -> None:
    ids = [1, *TOKENIZER.encode("<call>5</call>\n")]
    written = generate(ScriptedEngine(TOKENIZER, [[*ids, 1]]), request(stop_text=CALL_CLOSE))
    assert (written.token_ids.tolist(), written.stop) == (ids, StopReason.STOP_TEXT)


def test_a_turn_stops_with_the_token_that_begins_a_forbidden_command() -> None:
    written = generate(ScriptedEngine(TOKENIZER, [[1, 2, 3, 4, 1]]), request(stop_text=CALL_START))
    assert (written.token_ids.tolist(), written.stop) == ([1, 2, 3], StopReason.STOP_TEXT)


def test_an_engine_without_exact_stops_writes_on() -> None:
    ids = [*TOKENIZER.encode("<call>5</call>"), 1]
    written = generate(ScriptedEngine(TOKENIZER, [ids], exact_stops=False), request(stop_text=CALL_CLOSE))
    assert written.token_ids.tolist() == [*ids, 0]


def test_excluded_ids_are_not_written() -> None:
    written = generate(ScriptedEngine(TOKENIZER, [[1, 7, 2, 1]]), request(excluded=(7, 2)))
    assert written.token_ids.tolist() == [1, 1, 0]


def test_logprobs_and_versions_go_with_the_tokens() -> None:
    engine = ScriptedEngine(TOKENIZER, [[4], [4]], version=8)
    assert generate(engine, request()).logprobs.tolist() == [0.0, 0.0]
    written = generate(engine, request(want_logprobs=True))
    assert written.logprobs == pytest.approx([-0.005, -0.001])
    assert written.versions.tolist() == [8, 8]


def test_failures_are_raised() -> None:
    with pytest.raises(EngineError, match="down"):
        generate(ScriptedEngine(TOKENIZER, [EngineError("down")]), request())


def test_an_answer_waits_for_what_comes_before_it() -> None:
    async def scenario() -> None:
        release = asyncio.Event()
        engine = ScriptedEngine(TOKENIZER, [[1]], before=lambda _: release.wait())
        task = asyncio.create_task(engine.generate(request()))
        await asyncio.sleep(0)
        assert (engine.in_flight, task.done()) == (1, False)
        release.set()
        await task
        assert engine.in_flight == 0

    asyncio.run(scenario())


def test_what_the_prefix_cache_held_is_up_to_the_test() -> None:
    engine = ScriptedEngine(TOKENIZER, [[1]], cached=lambda request: len(request.prompt_ids) - 2)
    written = generate(engine, GenerationRequest([1] * 5, 50, SamplingSettings()))
    assert (written.prompt_tokens, written.cached_tokens) == (5, 3)
