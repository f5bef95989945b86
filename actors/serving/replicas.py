"""The Serve replicas that hold an engine: the teacher's, and the student's with the relay loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.engine_host import EngineHost
from actors.engines.base import Engine
from actors.engines.pacing import Pace
from actors.engines.teachers import ServedTeacher
from actors.relay.grammar import CommandGrammar
from actors.relay.handoff import chosen_handoff
from actors.relay.tokenizer import TransformersTokenizer
from actors.serving.answering import Answerer
from actors.serving.events import Event
from actors.serving.followed_weights import FollowedWeights
from actors.serving.remote_teacher import access_to
from actors.serving.request import AnswerRequest, ModelKind
from actors.serving.settings import ServerSettings
from actors.serving.solo import solo_answer
from actors.serving.teachers import HandleEngine, WatchedTeachers, probe_context
from actors.serving.weights_board import StudentWeights
from actors.weight_files import read_weights
from cluster.weight_transport import InFlight

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle


class TeacherReplica(EngineHost):
    """A teacher's engine. It serves the calls of all student replicas, and whole answers of the teacher alone, in one batch."""

    def __init__(self, settings: ServerSettings) -> None:
        teacher = settings.teacher
        assert teacher is not None
        assert teacher.path is not None
        super().__init__(teacher.path, teacher.engine, settings.device, settings.seed)
        self._pace = Pace(settings.parts_per_s)
        self._context_tokens, self._prices = teacher.engine.max_model_len, settings.prices

    def check_health(self) -> None:
        """Raise `EngineError` if the engine is dead. Serve then replaces this replica."""
        self.engine.check()

    async def answer(self, request: AnswerRequest) -> AsyncIterator[list[Event]]:
        """See `solo_answer`."""
        answer = solo_answer(self, self.engine.grammar, self._context_tokens, self._prices, self._pace, request)
        async with aclosing(answer) as batches:
            async for events in batches:
                yield events


class StudentReplica(EngineHost):
    """A student's engine and the relay loop, so that a student's turns stay where their prefix is."""

    async def __init__(  # type: ignore[misc]
        self,
        settings: ServerSettings,
        teacher: DeploymentHandle[Any] | None,
        remote: ServedTeacher | None,
        board: DeploymentHandle[Any],
    ) -> None:
        """Start the engine with the newest weights. `teacher` are replicas, `remote` is a server; at most one is given."""
        super().__init__(settings.student.path, settings.student.engine, settings.device, settings.seed)
        self._pace = Pace(settings.parts_per_s)
        from transformers import AutoTokenizer  # imported after the engine, which loads it with garbage collection off

        own = AutoTokenizer.from_pretrained(settings.student.path, trust_remote_code=False)
        its = AutoTokenizer.from_pretrained(settings.teacher_tokenizer, trust_remote_code=False)
        tokenizer, teacher_tokenizer = TransformersTokenizer(own), TransformersTokenizer(its)
        takes_text = remote is not None and remote.takes_text
        engine_of: Callable[[str], Engine] | None = None if teacher is None else partial(HandleEngine, teacher)
        if remote is not None:
            self._remote = engine = access_to(remote, settings).engine(tokenizer)
            engine_of = partial(_same, engine)
            self._solo = CommandGrammar(tokenizer if takes_text else teacher_tokenizer)
        self._settings, teachers = settings, None
        if engine_of is not None:
            outage = settings.outage
            probe = probe_context(teacher_tokenizer.eos_token_id, takes_text)
            teachers = WatchedTeachers(engine_of, outage.failures, outage.probe_s, probe)
        self._answerer = Answerer(
            student=self,
            teachers=teachers,
            tokenizer=tokenizer,
            teacher_tokenizer=tokenizer if takes_text else teacher_tokenizer,
            grammar=CommandGrammar(tokenizer),
            handoff=chosen_handoff(tokenizer, teacher_tokenizer, own.get_vocab() == its.get_vocab(), takes_text),
            student_context_tokens=settings.student.engine.max_model_len,
            teacher_context_tokens=settings.teacher_context_tokens,
            limits=settings.limits_in_force,
            prices=settings.prices,
            pace=self._pace,
            version=lambda: self.engine.version,
        )
        self._weights = FollowedWeights(board, settings.student.path, self._take)
        await self._weights.start()

    def check_health(self) -> None:
        """Raise `EngineError` if the engine is dead. Serve then replaces this replica."""
        self.engine.check()

    async def answer(self, request: AnswerRequest) -> AsyncIterator[list[Event]]:
        """See `Answerer.answer`; for a teacher alone that is behind a url, see `solo_answer`."""
        answer = self._answerer.answer(request)
        if request.kind is ModelKind.TEACHER:
            settings = self._settings
            context_tokens = settings.teacher_context_tokens
            answer = solo_answer(self._remote, self._solo, context_tokens, settings.prices, self._pace, request)
        async with aclosing(answer) as batches:
            async for events in batches:
                yield events

    async def _take(self, weights: StudentWeights) -> None:
        """Load weights between two steps of the engine. Answers that are being written go on under them."""
        arrays = await asyncio.to_thread(read_weights, Path(weights.path))
        await self.done_or_dead(self.engine.update_weights(arrays, weights.version, InFlight.CONTINUE))


def _same(engine: Engine, session: str) -> Engine:
    return engine
