"""The relay server in one process, with engines that write what a test tells them to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from transformers import AutoTokenizer

from actors.engines.base import Engine, GenerationRequest
from actors.engines.pacing import Pace
from actors.engines.teachers import ServedTeacher
from actors.relay.grammar import CommandGrammar
from actors.relay.handoff import ConversationHandoff, IdHandoff
from actors.relay.tokenizer import TransformersTokenizer
from actors.serving.answering import Answerer
from actors.serving.app import create_app
from actors.serving.errors import ApiError
from actors.serving.events import Event
from actors.serving.guards.rails import GuardRails, guard_rails
from actors.serving.ingress import as_api_error
from actors.serving.metrics import ServerMetrics
from actors.serving.prompts import Prompts
from actors.serving.protocol import RequestReader
from actors.serving.request import AnswerRequest, ModelKind
from actors.serving.service import Service
from actors.serving.settings import ServerSettings
from actors.serving.solo import solo_answer
from actors.serving.teachers import WatchedTeachers
from tests.scripted import ScriptedEngine

SHIPPED = Path(__file__).parents[2] / "pipelines" / "models" / "shipped"
STUDENT = str(next(SHIPPED.glob("*-student-*")))
TEACHER = str(next(SHIPPED.glob("*-teacher-*")))
ENGINE: dict[str, Any] = {
    "dtype": "float32",
    "max_model_len": 128,
    "max_num_seqs": 32,
    "block_size": 32,
    "kv_cache_gib": 0.25,
}
PRICES = {
    "student": {"input": 1.0, "cached_input": 0.1, "output": 2.0},
    "teacher": {"input": 10.0, "cached_input": 1.0, "output": 20.0},
}
CONTEXT = 128


@cache
def tokenizer() -> TransformersTokenizer:
    """Return the tokenizer of both shipped models."""
    return TransformersTokenizer(AutoTokenizer.from_pretrained(STUDENT))


def settings(**changes: Any) -> ServerSettings:
    """Return settings for the two shipped models."""
    model = {"path": STUDENT, "engine": ENGINE}
    values: dict[str, Any] = {
        "name": "tiny",
        "student": model,
        "teacher": {"path": TEACHER, "engine": ENGINE},
        "limits": {"max_new_tokens": 60, "max_calls": 3, "teacher_timeout_s": 30.0},
        "prices": PRICES,
        "deadline_s": 60.0,
    }
    return ServerSettings.model_validate(values | changes)


@cache
def reader() -> RequestReader:
    """Return the reader of requests to `settings()`."""
    return RequestReader(settings(), Prompts(settings()))


Writes = Callable[[GenerationRequest], str | Exception] | Iterable[str | Exception]


def scripted(writes: Writes, **options: Any) -> ScriptedEngine:
    """Return an engine that writes these texts in turn, or the text that a function returns."""

    def ids(text: str | Exception) -> Sequence[int] | Exception:
        return text if isinstance(text, Exception) else tokenizer().encode(text)

    if callable(writes):
        return ScriptedEngine(tokenizer(), lambda request: ids(writes(request)), **options)
    return ScriptedEngine(tokenizer(), [ids(text) for text in writes], **options)


@dataclass(frozen=True)
class Stack:
    """The server's parts that hold no engine, over two engines."""

    student: Engine
    teacher: Engine
    settings: ServerSettings
    remote: ServedTeacher | None = None
    """what `teacher` is, if it is behind a url"""
    pace: Pace = field(default_factory=Pace)

    def teachers(self) -> WatchedTeachers:
        outage = self.settings.outage
        return WatchedTeachers(lambda _: self.teacher, outage.failures, outage.probe_s, [1])

    def answerer(self, teachers: WatchedTeachers | None = None) -> Answerer:
        return Answerer(
            student=self.student,
            teachers=teachers or self.teachers(),
            tokenizer=tokenizer(),
            teacher_tokenizer=tokenizer(),
            grammar=CommandGrammar(tokenizer()),
            handoff=IdHandoff() if self.remote is None else ConversationHandoff(tokenizer(), tokenizer()),
            student_context_tokens=CONTEXT,
            teacher_context_tokens=CONTEXT,
            limits=self.settings.limits,
            prices=self.settings.prices,
            pace=self.pace,
            version=lambda: 0,
        )

    def answers(self, teachers: WatchedTeachers | None = None) -> Callable[[AnswerRequest], AsyncIterator[list[Event]]]:
        answerer = self.answerer(teachers)

        async def answers(request: AnswerRequest) -> AsyncIterator[list[Event]]:
            alone = solo_answer(
                self.teacher, CommandGrammar(tokenizer()), CONTEXT, self.settings.prices, self.pace, request
            )
            answer = alone if request.kind is ModelKind.TEACHER else answerer.answer(request)
            try:
                async for events in answer:
                    yield events
            except Exception as error:
                raise as_api_error(error) from error
            finally:
                await answer.aclose()

        return answers

    def service(self, metrics: ServerMetrics | None = None, teachers: WatchedTeachers | None = None) -> Service:
        answers = self.answers(teachers)
        return Service(answers, self.settings, metrics or ServerMetrics())

    def app(self, rails: GuardRails | None = None) -> FastAPI:
        async def publish(path: str) -> dict[str, Any]:
            raise ApiError(400, f"no weights in {path}")

        async def version() -> int:
            return 0

        metrics = ServerMetrics()
        guards = rails or guard_rails(self.settings.guards, self.settings.prices)
        readers = self._reader(), self._reader()
        return create_app(self.settings, *readers, self.service(metrics), metrics, guards, publish, version)

    def _reader(self) -> RequestReader:
        if self.remote is None:
            return reader()
        return RequestReader(self.settings, Prompts(self.settings, self.remote))

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app(), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)


def stack(student: Writes, teacher: Writes = (), **changes: Any) -> Stack:
    """Return the server over engines that write these texts."""
    return Stack(scripted(student), scripted(teacher), settings(**changes))


def chat(text: str = "94*03", **keys: Any) -> dict[str, Any]:
    """Return the body of a chat request."""
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **keys}


def chunks(sse: str) -> list[dict[str, Any]]:
    """Return the chunks of a whole stream, which must end with [DONE]."""
    *events, done, rest = sse.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]
