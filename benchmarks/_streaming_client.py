"""Loads an OpenAI-compatible server with streamed chats, and times what arrives. Both sides of a comparison use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import httpx

REQUEST_S = 300.0
DATA = b"data: "
END = b"[DONE]"


@dataclass(slots=True)
class Answered:
    """What one streamed request took."""

    first_token_s: float = 0.0
    tokens: int = 0
    calls_s: list[float] = field(default_factory=list)
    """seconds from the chunk that says that a call began to the first chunk with teacher text"""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """What a number of streams got."""

    answers: list[Answered]
    seconds: float

    @property
    def first_token_s(self) -> float:
        return median(answer.first_token_s for answer in self.answers)

    @property
    def tokens_per_s(self) -> float:
        return sum(answer.tokens for answer in self.answers) / self.seconds

    @property
    def calls_s(self) -> list[float]:
        return [seconds for answer in self.answers for seconds in answer.calls_s]


def load(url: str, bodies: Sequence[Mapping[str, Any]], streams: int) -> Load:
    """Send the requests to `/v1/chat/completions`, `streams` at a time, and return what arrived. Raises `httpx.HTTPError`."""
    return asyncio.run(_load(f"{url}/v1/chat/completions", bodies, streams))


async def _load(url: str, bodies: Sequence[Mapping[str, Any]], streams: int) -> Load:
    limits = httpx.Limits(max_connections=streams, max_keepalive_connections=streams)
    waiting = list(reversed(bodies))
    answers: list[Answered] = []
    async with httpx.AsyncClient(timeout=REQUEST_S, limits=limits) as client:

        async def stream() -> None:
            while waiting:
                answers.append(await _answer(client, url, waiting.pop()))

        started = perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(streams):
                group.create_task(stream())
        return Load(answers, perf_counter() - started)


async def _answer(client: httpx.AsyncClient, url: str, body: Mapping[str, Any]) -> Answered:
    answered = Answered()
    content = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}})
    sent, called = perf_counter(), None
    async with client.stream("POST", url, content=content, headers={"Content-Type": "application/json"}) as response:
        if response.is_error:
            await response.aread()
            raise httpx.HTTPStatusError(response.text, request=response.request, response=response)
        rest = b""
        async for part in response.aiter_raw():
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                if not line.startswith(DATA) or line.endswith(END):
                    continue
                chunk = json.loads(line[len(DATA) :])
                if chunk.get("usage"):
                    answered.tokens = chunk["usage"]["completion_tokens"]
                for choice in chunk["choices"]:
                    relay = choice.get("relay") or {}
                    if "call" in relay and "ending" not in relay["call"]:
                        called = perf_counter()
                    text = choice["delta"].get("content")
                    if not text:
                        continue
                    if not answered.text:
                        answered.first_token_s = perf_counter() - sent
                    answered.text += text
                    if called is not None and relay.get("writer") == "teacher":
                        answered.calls_s.append(perf_counter() - called)
                        called = None
    return answered
