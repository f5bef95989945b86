"""Gives every error of a FastAPI app OpenAI's form: refusals, invalid bodies, unknown paths, and faults of the server."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from actors.serving.guards.refusals import Refusal, answer_refusal

logger = logging.getLogger(__name__)

_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_SHOWN = 80
"""characters of a wrong value"""


def add_error_handlers(app: FastAPI) -> None:
    """Let the app answer every error in OpenAI's form. A body that does not fit its schema is a 400, which names the key."""
    app.add_exception_handler(Refusal, answer_refusal)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_fault)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part != "body"]
    if first["type"] in ("json_invalid", "model_attributes_type") or not where:
        return await _answer(
            request, 400, f"the body should be a JSON object that fits the route: {first['msg']}", None
        )
    key = ".".join(where)
    if first["type"] == "missing":
        return await _answer(request, 400, f"{key} should be there, and is missing", key)
    shown = ascii(first.get("input"))
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return await _answer(request, 400, f"{key}: {first['msg']}; got {shown}", key)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = await _answer(request, error.status_code, str(error.detail), None)
    answer.headers.update(error.headers or {})
    return answer


async def _answer_fault(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return await _answer(request, 500, "the server failed; its log says how", None)


async def _answer(request: Request, status: int, message: str, param: str | None) -> Response:
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return await answer_refusal(request, Refusal(status, message, kind=kind, param=param))
