"""Refusals of the guard rails, as answers in OpenAI's error form.

With FastAPI: `app.add_exception_handler(Refusal, answer_refusal)`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Refusal(Exception):
    """A request is refused. The message says why, and what would be right."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        challenge: bool = False,
    ) -> None:
        """Raises ValueError if a time to wait is given that is not finite."""
        super().__init__(message)
        self.status, self.message, self.kind, self.code, self.param = status, message, kind, code, param
        self.retry_after_s = None if retry_after_s is None else max(math.ceil(retry_after_s), 1)
        self._challenge = challenge

    @property
    def body(self) -> bytes:
        """The answer's body in OpenAI's error form, as JSON."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers, without its length."""
        headers = {"content-type": "application/json"}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(self.retry_after_s)
        if self._challenge:
            headers["www-authenticate"] = 'Bearer realm="relayllm"'
        if self.status in (408, 413):  # the rest of the body is not read
            headers["connection"] = "close"
        return headers


async def answer_refusal(request: Request, refusal: Exception) -> Response:
    """Return the answer to a refused request. It is an exception handler for FastAPI."""
    assert isinstance(refusal, Refusal)
    return Response(refusal.body, refusal.status, refusal.headers)


async def send_refusal(send: Send, refusal: Refusal) -> None:
    """Send the answer to a refused request."""
    body = refusal.body
    headers = {**refusal.headers, "content-length": str(len(body))}
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
