"""Turns as streams of chunks, so that they can be followed from another process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from actors.engines.base import Engine, EngineError, Generation, GenerationRequest, OnTokens
from actors.engines.pacing import Pace


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of a turn that is still being written."""

    token_ids: list[int]
    logprobs: list[float]
    """zeros if not asked for"""


async def as_chunks(
    engine: Engine, request: GenerationRequest, pace: Pace | None = None
) -> AsyncGenerator[Chunk | Generation, None]:
    """Yield the tokens of a turn as they are written, and its `Generation` at the end.

    All tokens that wait are in one chunk: while the consumer is slow, and until `pace` allows the next. The first chunk
    never waits. Closing the iterator cancels the turn. Raises `EngineError`.
    """
    waiting = Chunk([], [])

    def on_tokens(token_ids: list[int], logprobs: list[float]) -> None:
        waiting.token_ids.extend(token_ids)
        waiting.logprobs.extend(logprobs)
        signal.tell()

    with (pace or Pace()).stream() as signal:
        turn = asyncio.ensure_future(engine.generate(request, on_tokens))
        turn.add_done_callback(lambda _: signal.tell(urgent=True))
        try:
            while waiting.token_ids or not turn.done():
                await signal.wait()
                if waiting.token_ids:
                    chunk, waiting = waiting, Chunk([], [])
                    yield chunk
            yield turn.result()
        finally:
            turn.cancel()


async def from_chunks(chunks: AsyncIterator[Chunk | Generation], on_tokens: OnTokens) -> Generation:
    """Tell `on_tokens` the chunks, and return the `Generation` at their end. Raises `EngineError` if the end is missing."""
    async for chunk in chunks:
        if isinstance(chunk, Generation):
            return chunk
        on_tokens(chunk.token_ids, chunk.logprobs)
    raise EngineError("the stream of a turn ended before the turn did")
