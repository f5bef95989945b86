"""The teacher as the student's replica sees it: replicas behind a Serve handle, and whether they can be reached."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.engines.base import (
    ContextIds,
    Conversation,
    Engine,
    EngineError,
    Generation,
    GenerationRequest,
    Message,
    OnTokens,
)
from actors.engines.chunks import Chunk, from_chunks
from actors.serving.events import CallReport
from actors.serving.transport import following
from actors.settings import SamplingSettings
from actors.trajectory import CallEnding

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HandleEngine:
    """Sends turns to a deployment with the methods `generate` and `chunks`; those of one session go to one replica.

    Cancelling a turn cancels it there. If the replica is gone before it wrote anything, the turn is tried once more on another.
    """

    handle: DeploymentHandle[Any]
    session: str

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return the replica's turn, or raise `EngineError` if it failed or is gone."""
        from ray.exceptions import ActorDiedError, ActorUnavailableError

        arrived = False

        def told(ids: list[int], logprobs: list[float]) -> None:
            nonlocal arrived
            arrived = True
            if on_tokens is not None:
                on_tokens(ids, logprobs)

        try:
            return await self._turn(request, told)
        except (ActorDiedError, ActorUnavailableError) as error:
            if arrived:
                raise EngineError(f"the teacher's replica died: {error}") from error
        try:
            return await self._turn(request, told)
        except (ActorDiedError, ActorUnavailableError) as error:
            raise EngineError(f"the teacher's replicas died: {error}") from error

    async def _turn(self, request: GenerationRequest, on_tokens: OnTokens) -> Generation:
        from ray.exceptions import ActorDiedError, ActorUnavailableError

        stream = following(self.handle, self.session).chunks.remote(request)
        try:
            return await from_chunks(_chunks(stream), on_tokens)
        except (ActorDiedError, ActorUnavailableError):
            raise
        except asyncio.CancelledError as error:
            if cancelled_elsewhere():
                raise EngineError("the teacher's replica stopped") from error
            stream.cancel()
            raise
        except EngineError:
            raise
        except Exception as error:  # whatever breaks between two processes ends this call, and not the answer
            cause = getattr(error, "cause", None)
            raise EngineError(
                str(cause) if isinstance(cause, EngineError) else f"the teacher failed: {error}"
            ) from error


def cancelled_elsewhere() -> bool:
    """Return whether a `CancelledError` is not of this task. Serve raises one if the replica cancelled the call."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0


async def _chunks(stream: AsyncIterator[Any]) -> AsyncIterator[Chunk | Generation]:
    async for chunk in stream:
        yield chunk


def probe_context(token: int, takes_text: bool) -> Sequence[int]:
    """Return a short context to probe a teacher with."""
    return ContextIds([token], Conversation((Message("user", "1"),), "1")) if takes_text else [token]


class WatchedTeachers:
    """Counts failed calls, and probes a teacher that is away until it answers again."""

    def __init__(self, engine_of: Callable[[str], Engine], failures: int, probe_s: float, probe: Sequence[int]) -> None:
        """The teacher counts as away after `failures` failed calls in a row. A probe asks for one token after the context `probe`."""
        self._engine_of = engine_of
        self._failures, self._probe_s, self._context = failures, probe_s, probe
        self._failed = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        """Whether the teacher is away."""
        return self._failed >= self._failures

    def engine(self, session: str) -> Engine:
        """Return the teacher for one answer. While the teacher is away, its turns fail at once."""
        return _Watched(self, self._engine_of(session))

    def ended(self, call: CallReport) -> None:
        """Count a call of an answer."""
        if call.written and call.ending is not CallEnding.FAILED:
            self._back()
        elif call.ending is CallEnding.FAILED and call.duration_s > 0:  # else it did not reach the teacher
            was_away = self.away
            self._failed += 1
            if self.away and not was_away:
                logger.warning("the teacher is away after %d failed calls: %s", self._failed, call.reason)
                self._probing = asyncio.ensure_future(self._probe())

    def _back(self) -> None:
        if self.away:
            logger.warning("the teacher is back")
        self._failed = 0

    async def close(self) -> None:
        """Stop probing."""
        if self._probing is not None:
            self._probing.cancel()
            with suppress(asyncio.CancelledError):
                await self._probing

    async def _probe(self) -> None:
        request = GenerationRequest(self._context, 1, SamplingSettings(temperature=0.0))
        while self.away:
            await asyncio.sleep(self._probe_s)
            try:
                async with asyncio.timeout(self._probe_s):
                    await self._engine_of("probe").generate(request)
            except (EngineError, TimeoutError) as error:
                logger.info("the teacher is still away: %s", error)
            else:
                self._back()


@dataclass(frozen=True, slots=True)
class _Watched:
    teachers: WatchedTeachers
    engine: Engine

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        if self.teachers.away:
            raise EngineError("the teacher is away: its last calls failed")
        return await self.engine.generate(request, on_tokens)
