"""What the actors that hold a vLLM engine share: its construction, its health, and dying with it."""

from __future__ import annotations

import logging
import os
from typing import ClassVar

from actors.engines.base import EngineError, Generation, GenerationRequest
from actors.engines.vllm import EngineLoad, VllmEngine
from actors.settings import EngineSettings
from cluster.devices import Device

logger = logging.getLogger(__name__)


class EngineHost:
    """An actor around one engine. When the engine dies so does the actor, and Ray starts both anew."""

    engine_type: ClassVar[type[VllmEngine]] = VllmEngine

    def __init__(self, model: str, settings: EngineSettings, device: Device, seed: int) -> None:
        self.engine = self.engine_type(model, settings, device, seed)

    def ready(self) -> int:
        """Return the process id; answering means that the engine is up."""
        return os.getpid()

    def load(self) -> EngineLoad:
        """Return what the engine has done so far."""
        return self.engine.load

    async def generate(self, request: GenerationRequest) -> Generation:
        """Return one turn, or raise `EngineError`; a dead engine ends the process."""
        try:
            return await self.engine.generate(request)
        except EngineError:
            self.exit_if_dead()
            raise

    def exit_if_dead(self) -> None:
        try:
            self.engine.check()
        except EngineError:
            logger.exception("the engine is dead: ending this actor, so that Ray restarts it")
            os._exit(1)
