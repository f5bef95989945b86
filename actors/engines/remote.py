"""An engine that lives in another Ray actor, behind the `Engine` protocol."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from actors.engines.base import EngineError, EngineLostError, Generation, GenerationRequest, OnTokens

if TYPE_CHECKING:
    from ray.actor import ActorHandle


class RemoteEngine:
    """Sends each turn to an actor with a `generate` method; cancelling a turn cancels it there."""

    def __init__(self, actor: ActorHandle[Any]) -> None:
        self._actor = actor

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return the actor's turn. Raises `EngineError` if the actor failed, `EngineLostError` if it is gone."""
        import ray
        from ray.exceptions import RayActorError, RayError

        turn = self._actor.generate.remote(request)
        try:
            generation: Generation = await turn
        except asyncio.CancelledError:
            ray.cancel(turn)  # cancelling the awaiting task alone does not stop the call
            raise
        except RayError as error:
            cause = getattr(error, "cause", None)
            kind = EngineLostError if isinstance(error, RayActorError) else EngineError
            raise kind(
                str(cause) if isinstance(cause, EngineError) else f"the teacher actor failed: {error}"
            ) from error
        if on_tokens is not None:
            on_tokens(generation.token_ids.tolist())
        return generation
