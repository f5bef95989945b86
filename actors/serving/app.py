"""The HTTP interface: OpenAI's endpoints, health, metrics, administration and the page."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from actors.serving.errors import ApiError, bad
from actors.serving.metrics import CONTENT_TYPE, ServerMetrics
from actors.serving.openapi import ADMIN_BODY, chat_body, completion_body, with_body
from actors.serving.page import page_routes
from actors.serving.protocol import MOST_CHOICES, MOST_STOPS, Asked, RequestReader
from actors.serving.service import Service
from actors.serving.settings import ServerSettings

Authorize = Callable[[Request, bool], Awaitable[None]]
"""raises `ApiError` if a request is not allowed; the flag says that it is one of administration"""
Publish = Callable[[str], Awaitable[dict[str, Any]]]
"""brings the weights in a folder to all student replicas, and returns what they now hold. Raises `ApiError`"""
Version = Callable[[], Awaitable[int]]

_SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def allow_loopback_only(request: Request, is_admin: bool) -> None:
    """Allow everything but administration from other machines."""
    host = request.client.host if request.client is not None else None
    if is_admin and host not in ("127.0.0.1", "::1"):
        raise ApiError(403, "administration is allowed from this machine only")


def create_app(
    settings: ServerSettings,
    reader: RequestReader,
    service: Service,
    metrics: ServerMetrics,
    publish: Publish,
    version: Version,
    authorize: Authorize = allow_loopback_only,
) -> FastAPI:
    """Return the application."""
    app = FastAPI(title=f"relay server {settings.name}", docs_url=None, redoc_url=None)
    page_routes(app)

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> JSONResponse:
        return JSONResponse(error.body(), error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> JSONResponse:
        refusal = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
        return JSONResponse(refusal.body(), error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse(ApiError(400, str(error.errors()[0]["msg"])).body(), 400)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(ApiError(500, "the server failed; its log says why").body(), 500)

    async def answer(request: Request, read: Callable[[object], Asked]) -> Response:
        await authorize(request, False)
        asked = read(await _json(request))
        if not asked.streams:
            return JSONResponse(await service.whole(asked))
        chunks = service.stream(asked)
        first = await anext(chunks)
        return StreamingResponse(_after(first, chunks), media_type="text/event-stream", headers=_SSE_HEADERS)

    @app.post("/v1/chat/completions", openapi_extra=with_body(chat_body(MOST_CHOICES, MOST_STOPS)))
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation."""
        return await answer(request, reader.chat)

    @app.post("/v1/completions", openapi_extra=with_body(completion_body(MOST_CHOICES, MOST_STOPS)))
    async def completions(request: Request) -> Response:
        """Continue a text."""
        return await answer(request, reader.completion)

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        """List the relay model and the two models alone."""
        await authorize(request, False)
        return {"object": "list", "data": [_model(settings, name, await version()) for name in reader.models()]}

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> dict[str, Any]:
        """Describe one model."""
        await authorize(request, False)
        if name not in reader.models():
            raise ApiError(404, f"the model {name!r} is not served here", code="model_not_found")
        return _model(settings, name, await version())

    def _model(settings: ServerSettings, name: str, policy_version: int) -> dict[str, Any]:
        relay = {
            "kind": reader.models()[name].value,
            "policy_version": policy_version,
            "examples": settings.examples,
            "prices": settings.prices.model_dump(),
            "currency": settings.currency,
            "limits": settings.limits_in_force.model_dump(),
        }
        return {"id": name, "object": "model", "created": 0, "owned_by": "relayllm", "relay": relay}

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the server answers."""
        return {"status": "ok"}

    @app.get("/metrics")
    async def show_metrics() -> Response:
        """Return the metrics for Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.post("/admin/student", openapi_extra=with_body(ADMIN_BODY))
    async def new_student(request: Request) -> dict[str, Any]:
        """Give new weights to all student replicas. Answers that are being written go on."""
        await authorize(request, True)
        body = await _json(request)
        path = body.get("path") if isinstance(body, dict) else None
        if not isinstance(path, str) or not path:
            raise bad("path", "path should name the folder of a model or of a finished run")
        return await publish(path)

    return app


async def _json(request: Request) -> object:
    try:
        return json.loads(await request.body(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


async def _after(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(rest):
        yield first
        async for chunk in rest:
            yield chunk
