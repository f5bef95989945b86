"""The HTTP interface: OpenAI's endpoints, health, metrics, administration and the page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from actors.serving.answer_forms import ChatAnswer, ChatChunk, PublishedStudent, TextAnswer, TextChunk
from actors.serving.error_answers import add_error_handlers
from actors.serving.errors import ApiError, bad
from actors.serving.guards.budgets import until_answered
from actors.serving.guards.keys import admin_of, caller_of
from actors.serving.guards.middleware import GuardMiddleware
from actors.serving.guards.rails import GuardRails
from actors.serving.metrics import CONTENT_TYPE, ServerMetrics
from actors.serving.openapi import (
    ADMIN_BODY,
    REFUSED,
    chat_body,
    completion_body,
    describe_streams,
    or_stream,
    with_body,
)
from actors.serving.page import page_routes
from actors.serving.protocol import Asked, RequestReader, as_text
from actors.serving.service import Service, not_noted
from actors.serving.settings import ServerSettings
from actors.serving.spending import bounds_of, within

Publish = Callable[[str], Awaitable[dict[str, Any]]]
"""brings the weights in a folder to all student replicas, and returns what they now hold. Raises `ApiError`"""
Read = Callable[[RequestReader, object], Asked]
Version = Callable[[], Awaitable[int]]

Answered = Annotated[AsyncExitStack, Depends(until_answered)]

_EXACT = 2.0**53
"""below it, a float is the integer that it looks like"""
_LONG_BODY = 16 * 1024
"""bytes of a body that is read in a thread"""
_LONG_READER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="long-request")
_SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def create_app(
    settings: ServerSettings,
    reader: RequestReader,
    long_reader: RequestReader,
    service: Service,
    metrics: ServerMetrics,
    guards: GuardRails,
    publish: Publish,
    version: Version,
) -> FastAPI:
    """Return the application. `long_reader` works in a thread, so it must share no tokenizer with `reader`."""
    app = FastAPI(title=f"relay server {settings.name}", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(GuardMiddleware, settings=guards.settings, keys=guards.keys, admission=guards.admission)
    add_error_handlers(app)
    page_routes(app)

    async def answer(request: Request, read: Read, answered: AsyncExitStack) -> Response:
        asked, note = await _read(await request.body(), read, reader, long_reader), not_noted
        bounds = bounds_of(asked)
        if (allowance := await guards.allowance(caller_of(request), bounds, answered)) is not None:
            asked, note = within(asked, allowance.per_choice(bounds)), allowance.note
        if not asked.streams:
            return JSONResponse(await service.whole(asked, note))
        chunks = service.stream(asked, note)
        answered.push_async_callback(chunks.aclose)  # Starlette leaves it open when the client goes, or reads no more
        first = await anext(chunks)
        return StreamingResponse(_after(first, chunks), media_type="text/event-stream", headers=_SSE_HEADERS)

    @app.post(
        "/v1/chat/completions",
        response_model=ChatAnswer,
        responses=or_stream(ChatChunk),
        openapi_extra=with_body(chat_body(reader.models())),
    )
    async def chat_completions(request: Request, answered: Answered) -> Response:
        """Answer a conversation."""
        return await answer(request, lambda reader, body: reader.chat(body), answered)

    @app.post(
        "/v1/completions",
        response_model=TextAnswer,
        responses=or_stream(TextChunk),
        openapi_extra=with_body(completion_body(reader.models(), reader.tokens)),
    )
    async def completions(request: Request, answered: Answered) -> Response:
        """Continue a text."""
        return await answer(request, lambda reader, body: reader.completion(body), answered)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List the relay model and the two models alone."""
        return {"object": "list", "data": [_model(settings, name, await version()) for name in reader.models()]}

    @app.get("/v1/models/{name:path}", responses=REFUSED)
    async def model(name: str) -> dict[str, Any]:
        """Describe one model."""
        if name not in reader.models():
            raise ApiError(404, f"the model {name!r} is not served here", code="model_not_found")
        return _model(settings, name, await version())

    def _model(settings: ServerSettings, name: str, policy_version: int) -> dict[str, Any]:
        relay = {
            "kind": reader.models()[name].value,
            "policy_version": policy_version,
            "examples": settings.examples,
            "memory": settings.memory.value,
            "prices": settings.prices.model_dump(),
            "currency": settings.currency,
            "limits": settings.limits_in_force.model_dump(),
        }
        return {"id": name, "object": "model", "created": 0, "owned_by": "relayllm", "relay": relay}

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the server answers."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        """Return the metrics for Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/admin/settings", dependencies=[Depends(admin_of)], responses=REFUSED)
    async def show_settings() -> dict[str, Any]:
        """Return the server's settings, without what identifies API keys."""
        return settings.without_secrets

    @app.post(
        "/admin/student",
        dependencies=[Depends(admin_of)],
        response_model=PublishedStudent,
        responses=REFUSED,
        openapi_extra=with_body(ADMIN_BODY),
    )
    async def new_student(request: Request) -> dict[str, Any]:
        """Give new weights to all student replicas. Answers that are being written go on."""
        body = _json(await request.body())
        path = body.get("path") if isinstance(body, dict) else None
        if not isinstance(path, str) or not path:
            raise bad("path", "path should name the folder of a model or of a finished run")
        return await publish(as_text(path, "path"))

    describe_streams(app)
    return app


async def _read(body: bytes, read: Read, reader: RequestReader, long_reader: RequestReader) -> Asked:
    """Return the request. A long one is read in a thread, where it holds up nothing but other long ones."""
    if len(body) < _LONG_BODY:
        return read(reader, _json(body))
    return await asyncio.get_running_loop().run_in_executor(_LONG_READER, lambda: read(long_reader, _json(body)))


def _json(body: bytes) -> object:
    try:
        return json.loads(body, parse_float=_number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from error


def _number(text: str) -> float:
    """Return a number. JSON has one kind of them, so 3.0 is the integer 3."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
