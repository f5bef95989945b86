"""Asks a server many questions at a time, and again where that may help."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpx

from pipelines.client.errors import ServerError, lost, refusal
from pipelines.generation.answers import Answer
from pipelines.generation.rows import Row

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0

Sleep = Callable[[float], Awaitable[object]]


async def ask_all(
    client: httpx.AsyncClient,
    rows: Iterable[Row],
    model: str,
    done: Callable[[Answer], None],
    *,
    concurrency: int,
    attempts: int,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Ask all rows, at most `concurrency` at a time, and give each answer, or what went wrong with it, to `done`.

    Raises `ServerError` if the server would refuse every other row for the same reason, or is not there. Such a row is not
    given to `done`.
    """
    waiting = iter(rows)

    async def work() -> None:
        for row in waiting:
            done(await _answer(client, row, model, attempts, sleep))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _answer(client: httpx.AsyncClient, row: Row, model: str, attempts: int, sleep: Sleep) -> Answer:
    attempt = 1
    while True:
        try:
            return _read(row, await _post(client, row, model))
        except ServerError as error:
            if attempt >= attempts or not error.is_passing:
                if error.ends_all:
                    raise
                return _shown(row, error={"message": str(error), "status": error.status, "attempts": attempt})
            await sleep(_pause_s(attempt, error.retry_after_s))
        attempt += 1


def _pause_s(attempt: int, asked_s: float | None) -> float:
    """Return how long to wait: what the server asks for, or ever longer. It is drawn a little longer, so that not all come at once."""
    pause_s = min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S) if asked_s is None else asked_s
    return pause_s * random.uniform(1.0, 1.25)


async def _post(client: httpx.AsyncClient, row: Row, model: str) -> dict[str, Any]:
    try:
        response = await client.post(row.path, json={"model": model, **row.body})
    except httpx.HTTPError as error:
        raise lost(error, str(client.base_url)) from None
    try:
        body = response.json()
    except ValueError:
        body = None
    if not response.is_success:
        raise refusal(response, body)
    if not isinstance(body, dict):
        raise ServerError("the server's answer is not JSON", status=response.status_code)
    return body


def _read(row: Row, body: dict[str, Any]) -> Answer:
    try:
        choice = body["choices"][0]
        text = choice["text"] if row.path == "v1/completions" else choice["message"]["content"]
        relay = dict(choice.get("relay") or {})
        if currency := (body.get("relay") or {}).get("currency"):
            relay["currency"] = currency
        return _shown(row, text or "", choice["finish_reason"], relay, body.get("usage"))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise ServerError("the server's answer has no text: is it a relay server?", status=200) from None


def _shown(
    row: Row,
    text: str | None = None,
    finish_reason: str | None = None,
    relay: dict[str, Any] | None = None,
    usage: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> Answer:
    answer: Answer = {"line": row.line, "id": row.id, "answer": text, "finish_reason": finish_reason}
    return {**answer, "relay": relay, "usage": usage, "error": error}
