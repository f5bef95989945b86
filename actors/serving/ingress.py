"""The replica that speaks HTTP. It renders prompts, sends answers to the engines' replicas, and holds no engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from actors.engines.base import EngineError
from actors.engines.teachers import ServedTeacher
from actors.serving.errors import ApiError
from actors.serving.events import Event
from actors.serving.request import AnswerRequest, ModelKind
from actors.serving.settings import ServerSettings
from actors.serving.teachers import cancelled_elsewhere
from actors.serving.transport import following, wait_for_port
from actors.serving.weights_board import StudentWeights

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve.handle import DeploymentHandle

logger = logging.getLogger(__name__)

_AGAIN_S = 5.0
"""when a client may send a request again that met a dead replica"""


class IngressReplica:
    """Serve calls `__serve_build_asgi_app__` after the construction, and passes HTTP requests to the application."""

    def __init__(
        self,
        settings: ServerSettings,
        student: DeploymentHandle[Any],
        teacher: DeploymentHandle[Any] | None,
        remote: ServedTeacher | None,
        board: DeploymentHandle[Any],
    ) -> None:
        self._settings, self._student, self._teacher, self._board = settings, student, teacher, board
        self._remote = remote
        wait_for_port(settings.http.host)

    def __serve_build_asgi_app__(self) -> FastAPI:
        from actors.serving.app import create_app
        from actors.serving.guards.rails import guard_rails
        from actors.serving.metrics import ServerMetrics
        from actors.serving.prompts import Prompts
        from actors.serving.protocol import RequestReader
        from actors.serving.service import Service

        settings, metrics = self._settings, ServerMetrics()
        reader, long_reader = (RequestReader(settings, Prompts(settings, self._remote)) for _ in range(2))
        service = Service(self._answers, settings, metrics)
        self._guards = guards = guard_rails(settings.guards, settings.prices)
        return create_app(settings, reader, long_reader, service, metrics, guards, self._publish, self._version)

    async def drain(self) -> str:
        """Refuse new requests, wait for those in flight, and return which replica this is."""
        from ray import serve

        await self._guards.drain(self._settings.deadline_s)
        replica: str = serve.get_replica_context().replica_id.unique_id
        return replica

    async def _answers(self, request: AnswerRequest) -> AsyncGenerator[list[Event], None]:
        from ray.serve.context import _set_request_context

        handle = self._student
        if request.kind is ModelKind.TEACHER and self._teacher is not None:
            handle = self._teacher  # a teacher behind a url is asked by the student's replicas
        # Serve gives all calls of one HTTP request the same id, and its router then loses all but one of those that wait at
        # the same time. This coroutine runs in a task, and so a context, of its own.
        _set_request_context(_internal_request_id=uuid4().hex)
        stream = following(handle, request.session).answer.remote(request)
        try:
            async for events in stream:
                yield events
        except asyncio.CancelledError as error:
            if cancelled_elsewhere():
                raise as_api_error(error) from error
            raise
        except Exception as error:
            raise as_api_error(error) from error
        finally:
            stream.cancel()  # without effect on an answer that has ended

    async def _publish(self, path: str) -> dict[str, Any]:
        try:
            published: dict[str, Any] = await self._board.publish.remote(path)
        except Exception as error:
            raise as_api_error(error) from error
        return published

    async def _version(self) -> int:
        newest: StudentWeights = await self._board.newest.remote()
        return newest.version


def as_api_error(error: BaseException) -> ApiError:
    """Return what a client is told of an error from a replica."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, ApiError):
        return cause
    if isinstance(cause, ValueError):
        return ApiError(400, str(cause))
    if isinstance(cause, asyncio.CancelledError):
        message = "the replica that wrote this answer is stopping; send the request again"
    elif isinstance(cause, EngineError):
        message = f"the model failed: {cause}"
    else:
        logger.error("an answer failed", exc_info=error)
        message = "the replica that wrote this answer is gone; send the request again"
    return ApiError(503, message, code="model_unavailable", retry_after_s=_AGAIN_S)
