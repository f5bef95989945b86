"""A turn as a stream of chunks: the same tokens, also for a slow consumer, and an end that is not lost."""

import asyncio
from contextlib import aclosing

import pytest

from actors.engines.base import EngineError, Generation, GenerationRequest
from actors.engines.chunks import Chunk, as_chunks, from_chunks
from actors.settings import SamplingSettings
from tests.scripted import PieceTokenizer, ScriptedEngine

TOKENIZER = PieceTokenizer([*"abcdef", "<call>"])
REQUEST = GenerationRequest((1,), 10, SamplingSettings(), want_logprobs=True)


async def test_the_chunks_are_the_turn() -> None:
    told: list[int] = []
    engine = ScriptedEngine(TOKENIZER, [[1, 2, 3]])

    generation = await from_chunks(as_chunks(engine, REQUEST), lambda ids, _: told.extend(ids))

    assert told == generation.token_ids.tolist() == [1, 2, 3, 0]


async def test_a_slow_consumer_gets_what_waits_in_one_chunk() -> None:
    engine = ScriptedEngine(TOKENIZER, [[1, 2, 3, 4, 5]])
    chunks: list[Chunk | Generation] = []
    async for chunk in as_chunks(engine, REQUEST):
        chunks.append(chunk)
        for _ in range(20):
            await asyncio.sleep(0)

    first, rest, end = chunks
    assert isinstance(first, Chunk) and isinstance(rest, Chunk) and isinstance(end, Generation)
    assert [*first.token_ids, *rest.token_ids] == end.token_ids.tolist()


async def test_closing_the_stream_cancels_the_turn() -> None:
    async def for_ever(request: GenerationRequest) -> None:
        await asyncio.Event().wait()

    engine = ScriptedEngine(TOKENIZER, [[1]], before=for_ever)
    async with aclosing(as_chunks(engine, REQUEST)) as chunks:
        reader = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert engine.in_flight == 1
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    await asyncio.sleep(0)

    assert engine.in_flight == 0


async def test_errors_and_a_missing_end_are_engine_errors() -> None:
    with pytest.raises(EngineError, match="gone"):
        await from_chunks(as_chunks(ScriptedEngine(TOKENIZER, [EngineError("gone")]), REQUEST), lambda *_: None)

    async def without_end():  # type: ignore[no-untyped-def]
        yield Chunk([1], [0.0])

    with pytest.raises(EngineError, match="ended before the turn did"):
        await from_chunks(without_end(), lambda *_: None)
