"""An engine that lives in another Ray actor, behind the `Engine` protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from actors.engines.base import EngineError, EngineLostError, Generation, GenerationRequest, OnTokens
from actors.engines.chunks import Chunk, from_chunks

if TYPE_CHECKING:
    from ray.actor import ActorHandle


class RemoteEngine:
    """Sends each turn to an actor with the methods `generate` and `chunks`; cancelling a turn cancels it there."""

    def __init__(self, actor: ActorHandle[Any]) -> None:
        self._actor = actor

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return the actor's turn. Raises `EngineError` if the actor failed, `EngineLostError` if it is gone."""
        import ray
        from ray.exceptions import RayActorError, RayError

        method = self._actor.generate if on_tokens is None else self._actor.chunks.options(num_returns="streaming")
        turn = method.remote(request)
        try:
            generation: Generation = await (turn if on_tokens is None else from_chunks(_values(turn), on_tokens))
        except asyncio.CancelledError:
            ray.cancel(turn)  # cancelling the awaiting task alone does not stop the call
            raise
        except RayError as error:
            cause = getattr(error, "cause", None)
            kind = EngineLostError if isinstance(error, RayActorError) else EngineError
            raise kind(
                str(cause) if isinstance(cause, EngineError) else f"the teacher actor failed: {error}"
            ) from error
        return generation


async def _values(stream: AsyncIterator[Any]) -> AsyncIterator[Chunk | Generation]:
    async for reference in stream:
        yield await reference
