"""What all actors with a vLLM engine share: starting the engine, reporting its health, and ending when it dies."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

from actors.engine_readings import engine_readings
from actors.engines.base import EngineError, Generation, GenerationRequest, OnTokens
from actors.engines.chunks import Chunk, as_chunks
from actors.engines.vllm import EngineLoad, VllmEngine
from actors.settings import EngineSettings
from cluster.devices import Device, own_gpus
from cluster.metrics.publisher import Publishing, Reading, publish_actor
from cluster.metrics.states import ActorState, StateClock
from cluster.names import title_of_actor
from cluster.stacks import show_stacks_on_signal

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Activity:
    """What an actor is doing."""

    tokens: int
    """tokens that its engine has written since it started"""
    finished: int
    """finished sequences of unfinished orders"""


class EngineHost:
    """An actor around one engine. When the engine dies, the actor ends, and Ray starts both again."""

    engine_type: ClassVar[type[VllmEngine]] = VllmEngine
    role: ClassVar[str] = "engine"

    def __init__(
        self,
        model: str,
        settings: EngineSettings,
        device: Device,
        seed: int,
        sleeps: bool = False,
        publishing: Publishing | None = None,
    ) -> None:
        """Start the engine. Publish metrics if `publishing` is given."""
        show_stacks_on_signal()
        self.finished = 0
        publish_actor(publishing, self.readings)
        self._start_engine = partial(self.engine_type, model, settings, device, seed, sleeps)
        self._waits = sleeps and _restarted()
        if not self._waits:
            _ = self.engine  # the first access starts the engine

    @cached_property
    def engine(self) -> VllmEngine:
        """The engine. If it sleeps on a shared GPU, a restarted actor starts it only when it is first needed.

        The learner may hold the GPU's memory until then. Raises `EngineError` if that delayed start fails.
        """
        try:
            with self.states.within(ActorState.STARTING):
                return self._start_engine()
        except Exception as error:
            if not self._waits:
                raise
            raise EngineError(
                "the engine was lost and cannot start again on the GPU that it shares with the learner: "
                f"{error}. Resume the run; if this happens again, lower gpu_memory_utilization of the engine"
            ) from error

    @cached_property
    def states(self) -> StateClock:
        """What the actor is doing."""
        return StateClock(self.role)

    def readings(self) -> Iterator[Reading]:
        """Yield what the actor's metrics show now. Never starts an engine."""
        yield from self.states.readings()
        if "engine" in vars(self):
            yield from engine_readings(self.engine)

    def __repr__(self) -> str:
        """Ray shows this in its dashboard, and before each line of the actor's output."""
        return title_of_actor(type(self).__name__)

    def ready(self) -> int:
        """Return the process id. An answer means that the engine is up, or that it starts when it is needed."""
        return os.getpid()

    def load(self) -> EngineLoad:
        """Return what the engine has done so far."""
        return self.engine.load

    def unfinished(self) -> int:
        """Return how many turns are being written."""
        return self.engine.unfinished

    def activity(self) -> Activity:
        """Return what the actor is doing. The call is cheap, so it may come every few seconds, and it never starts an engine."""
        is_up = "engine" in vars(self)
        return Activity(self.engine.load.generated_tokens if is_up else 0, self.finished)

    def gpus(self) -> set[str]:
        """Return the engine's GPUs, as `own_gpus` names them."""
        return own_gpus()

    async def sleep(self, keep_weights: bool) -> None:
        """See `VllmEngine.sleep`."""
        await self.done_or_dead(self.engine.sleep(keep_weights))
        self.states.end(ActorState.ASLEEP)  # if it was asleep already
        self.states.begin(ActorState.ASLEEP)

    async def wake_weights(self) -> None:
        """See `VllmEngine.wake_weights`."""
        await self.done_or_dead(self.engine.wake_weights())

    async def wake_kv_cache(self) -> None:
        """See `VllmEngine.wake_kv_cache`."""
        await self.done_or_dead(self.engine.wake_kv_cache())
        self.states.end(ActorState.ASLEEP)

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return one turn, or raise `EngineError`; a dead engine ends the process."""
        try:
            with self.states.within(ActorState.WRITING):
                return await self.engine.generate(request, on_tokens)
        except EngineError:
            self.exit_if_dead()
            raise

    async def chunks(self, request: GenerationRequest) -> AsyncIterator[Chunk | Generation]:
        """Yield one turn as `as_chunks` does; a dead engine ends the process."""
        async with aclosing(as_chunks(self, request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def done_or_dead(self, call: Awaitable[None]) -> None:
        """Wait for `call`, or raise its `EngineError`; a dead engine ends the process."""
        try:
            await call
        except EngineError:
            self.exit_if_dead()
            raise

    def exit_if_dead(self) -> None:
        """End this process if the engine is dead, so that Ray restarts the actor."""
        try:
            self.engine.check()
        except EngineError:
            logger.exception("the engine is dead: ending this actor, so that Ray restarts it")
            for process in multiprocessing.active_children():  # vLLM's core process would keep the GPU's memory
                process.kill()
            os._exit(1)


def _restarted() -> bool:
    import ray

    return ray.is_initialized() and ray.get_runtime_context().was_current_actor_reconstructed
