"""Reads a request's body up to a limit, and plays it back to the app."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope

from actors.serving.errors import ApiError


class ClientGoneError(Exception):
    """The client closed the connection before its request was whole."""


async def read_body(scope: Scope, receive: Receive, most_bytes: int, timeout_s: float) -> bytes:
    """Return the whole body of a request.

    The bytes that arrive are counted: the header Content-Length can only refuse a body early. Raises `ApiError` (413 too large,
    408 too slow, 400 wrong header), and `ClientGoneError`.
    """
    _check_length(scope, most_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                if size > most_bytes:
                    raise _too_large(most_bytes)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise ApiError(
            408,
            f"the request's body did not arrive within {timeout_s:g} s",
            code="request_timeout",
        ) from None


class ReplayedBody:
    """Gives a body that was read to the app, and then what the client does, which can only be that it goes."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._next: asyncio.Future[Message] | None = None

    async def __call__(self) -> Message:
        """Return the next message: ASGI's `receive`."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        message = await asyncio.shield(self._following())
        self._next = None
        return message

    async def client_gone(self) -> None:
        """Wait until the client closes the connection. A message that this reads is kept for the app."""
        while (await asyncio.shield(self._following()))["type"] != "http.disconnect":
            self._next = None

    async def close(self) -> None:
        """End a read that is under way."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])

    def _following(self) -> asyncio.Future[Message]:
        if self._next is None:
            self._next = asyncio.ensure_future(self._receive())
        return self._next


def _check_length(scope: Scope, most_bytes: int) -> None:
    found = {value for name, value in scope.get("headers", []) if name.lower() == b"content-length"}
    if not found:
        return
    if len(found) > 1 or not (text := found.pop()).isdigit():
        raise ApiError(
            400,
            "the header Content-Length should be one number of bytes",
            code="invalid_content_length",
        )
    digits = text.lstrip(b"0") or b"0"
    if len(digits) > 18 or int(digits) > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> ApiError:
    return ApiError(
        413,
        f"the request's body should have at most {most_bytes} bytes: send a shorter one",
        code="request_too_large",
    )
