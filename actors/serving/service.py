"""Answers requests through the replicas: all choices at the same time, within the deadline, and aborted if nobody waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actors.serving.bodies import DONE, AnswerBodies, ChoiceText, Json, as_sse
from actors.serving.errors import ApiError
from actors.serving.events import Event, Summary
from actors.serving.metrics import ServerMetrics
from actors.serving.protocol import Asked
from actors.serving.request import AnswerRequest
from actors.serving.settings import ServerSettings
from actors.serving.spending import Spending

logger = logging.getLogger(__name__)

Answers = Callable[[AnswerRequest], AsyncIterator[list[Event]]]
"""starts one answer. Closing the iterator aborts it. It raises `ApiError`"""
Note = Callable[[int, float], None]
"""is told how many tokens the teacher wrote for all choices so far, and what they all cost"""


def not_noted(teacher_tokens: int, cost: float) -> None:
    """Do nothing with what a request used."""


@dataclass(slots=True)
class _Waiting:
    """Events of all choices that nobody has taken."""

    events: dict[int, list[Event]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self) -> dict[int, list[Event]]:
        self.news.clear()
        taken, self.events = self.events, {}
        return taken


class Service:
    """Answers requests."""

    def __init__(self, answers: Answers, settings: ServerSettings, metrics: ServerMetrics) -> None:
        self._answers, self._metrics = answers, metrics
        self._currency, self._prices, self._deadline_s = settings.currency, settings.prices, settings.deadline_s

    async def whole(self, asked: Asked, note: Note = not_noted) -> Json:
        """Return the body of an answer. Raises `ApiError`."""
        choices = [ChoiceText() for _ in asked.choices]
        async with aclosing(self._events(asked, note)) as batches:
            async for batch in batches:
                for index, events in batch.items():
                    choices[index].take(events)
        return AnswerBodies(asked, self._currency).whole(choices)

    async def stream(self, asked: Asked, note: Note = not_noted) -> AsyncGenerator[bytes, None]:
        """Yield the server-sent events of an answer. All that waits while the client is slow goes out together.

        An error before the first event of an answer is raised as `ApiError`. A later one is the last event.
        """
        bodies = AnswerBodies(asked, self._currency)
        summaries: dict[int, Summary] = {}
        try:
            async with aclosing(self._events(asked, note)) as batches:
                began = False
                async for batch in batches:
                    chunks = [] if began else bodies.beginnings()
                    began = True
                    for index, events in batch.items():
                        chunks += bodies.chunks(index, events)
                        if isinstance(last := events[-1], Summary):
                            summaries[index] = last
                    yield b"".join(map(as_sse, chunks))
        except ApiError as error:
            if not began:
                raise
            yield as_sse(error.body)
            return
        if asked.include_usage:
            yield as_sse(bodies.last([summaries[index] for index in sorted(summaries)]))
        yield DONE

    async def _events(self, asked: Asked, note: Note) -> AsyncGenerator[dict[int, list[Event]], None]:
        """Yield the events of all choices, by choice."""
        waiting, spending = _Waiting(), Spending(asked, self._prices)
        deadline = asyncio.get_running_loop().time() + self._deadline_s
        with self._metrics.request(asked.kind) as measured:

            def arrived(index: int, events: list[Event]) -> None:
                waiting.events.setdefault(index, []).extend(events)
                waiting.news.set()
                spending.take(index, events)
                note(*spending.total())

            work = [
                self._pump(request, partial(arrived, index), waiting) for index, request in enumerate(asked.choices)
            ]
            async with _running(work) as pumps:
                while True:
                    try:
                        async with asyncio.timeout_at(deadline):
                            await waiting.news.wait()
                    except TimeoutError as error:
                        raise ApiError(
                            504, f"the answer was not finished within {self._deadline_s:g} s", code="deadline_exceeded"
                        ) from error
                    batch = waiting.take()
                    for events in batch.values():
                        measured.events(events)
                    if batch:
                        yield batch
                    for pump in pumps:
                        if pump.done():
                            pump.result()
                    if all(pump.done() for pump in pumps) and not waiting.events:
                        return

    async def _pump(self, request: AnswerRequest, arrived: Callable[[list[Event]], None], waiting: _Waiting) -> None:
        """Tell the events of one choice as they arrive, however slow the client is."""
        finished = False
        try:
            async for events in self._answers(request):
                arrived(events)
                finished = isinstance(events[-1], Summary)
            if not finished:
                raise ApiError(503, "the answer ended before it was finished: send the request again")
        finally:
            waiting.news.set()


@asynccontextmanager
async def _running(work: Iterable[Coroutine[Any, Any, None]]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run all coroutines as tasks, which are cancelled and awaited at the end of the block."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
