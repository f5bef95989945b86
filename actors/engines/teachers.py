"""How an actor reaches its teacher: one actor, several with the same model, or a server; recorded or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actors.engines.base import Engine, Generation, GenerationRequest, OnTokens
from actors.engines.endpoint import PATIENT, EndpointSettings, Mode, Patience, Wire
from actors.engines.engine_pool import EnginePool
from actors.engines.recorded import RecordedEngine
from actors.engines.remote import RemoteEngine
from actors.relay.tokenizer import Tokenizer

if TYPE_CHECKING:
    from actors.engines.openai import OpenAIEngine


@dataclass(frozen=True, slots=True)
class ServedTeacher:
    """A teacher behind HTTP, as it was found at the start."""

    server: EndpointSettings
    wire: Wire

    @property
    def takes_text(self) -> bool:
        """Whether the server is sent text and not token ids."""
        return self.wire.mode is not Mode.IDS

    def engine(self, student: Tokenizer, patience: Patience = PATIENT) -> OpenAIEngine:
        """Return an engine that asks the server. `student` encodes the answers of a server that sends text."""
        from actors.engines.openai import OpenAIEngine  # loads an HTTP client, which `--help` does not need

        return OpenAIEngine(self.server, self.wire, student, patience)


@dataclass(frozen=True, slots=True)
class Recording:
    """Where a teacher's answers are kept."""

    folder: Path
    model: str
    """names the teacher with all that its answers depend on"""


@dataclass(frozen=True, slots=True)
class TeacherAccess:
    """The way from an actor to its teacher. Either `actors` or `served` is given."""

    actors: tuple[str, ...] = ()
    """names of the teacher actors in the asking actor's namespace; all have the same model"""
    served: ServedTeacher | None = None
    recording: Recording | None = None
    patience: Patience = PATIENT
    """with a server"""

    @property
    def takes_text(self) -> bool:
        """Whether contexts have to be given as conversations."""
        return self.served is not None and self.served.takes_text

    def engine(self, student: Tokenizer, number: int = 0) -> Engine:
        """Return the engine that asks the teacher. `number` counts the asking actors, so that they begin with different replicas."""
        engine = self._engine(student, number)
        return engine if self.recording is None else RecordedEngine(engine, self.recording.folder, self.recording.model)

    def _engine(self, student: Tokenizer, number: int) -> Engine:
        if self.served is not None:
            return self.served.engine(student, self.patience)
        import ray

        return EnginePool([RemoteEngine(ray.get_actor(name)) for name in self.actors], first=number)


class CountedEngine:
    """An `Engine` that counts the tokens of another one's finished turns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tokens = 0

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return the engine's turn, or raise its `EngineError`."""
        generation = await self._engine.generate(request, on_tokens)
        self.tokens += len(generation.token_ids)
        return generation
