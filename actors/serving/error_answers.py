"""Answers every error of the application in OpenAI's form: its own, unknown paths, and faults of the server."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from actors.serving.errors import ApiError

logger = logging.getLogger(__name__)


def answer_of(error: ApiError) -> Response:
    """Return the answer that an error is."""
    return Response(error.content, error.status, error.headers)


def add_error_handlers(app: FastAPI) -> None:
    """Let the app answer every error in OpenAI's form. Its routes read bodies themselves, so FastAPI validates none."""
    app.add_exception_handler(ApiError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_fault)


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return answer_of(error)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return answer_of(ApiError(error.status_code, message, headers=error.headers))


async def _answer_fault(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer_of(ApiError(500, "the server failed; its log says why"))
