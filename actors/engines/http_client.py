"""HTTP to a teacher's server: bounded answers, retries within a deadline, and a circuit breaker."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx

from actors.engines.base import EngineError
from actors.engines.circuit import Circuit, OutageError
from actors.engines.endpoint import EndpointSettings, Patience

T = TypeVar("T")
Read = Callable[[httpx.Response], Awaitable[T]]

_EXCERPT_CHARACTERS = 300
_ERROR_BODY_BYTES = 2**16
_CONNECT_S = 10.0
_NETWORK = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout, httpx.PoolTimeout)


class RefusedError(EngineError):
    """The server answered with an error that another try would not change."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class BrokenOffError(EngineError):
    """An answer ended too early. Asking again may help."""


class MissingKeyError(EngineError, ValueError):
    """The environment variable with the server's API key is not set."""


class HttpClient:
    """Posts JSON to one server. Certificates are verified, and redirects are not followed. Close it with `aclose`."""

    def __init__(self, server: EndpointSettings, patience: Patience) -> None:
        headers = {}
        if server.api_key_env is not None:
            key = os.environ.get(server.api_key_env)
            if not key:
                raise MissingKeyError(
                    f"the environment variable {server.api_key_env} must hold the teacher's API key, and is not set"
                )
            headers["Authorization"] = f"Bearer {key}"
        self._base, self._patience = server.base, patience
        self._circuit = Circuit(server.base, patience.failures_to_open, patience.open_s)
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=min(patience.timeout_s, _CONNECT_S)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )

    def url(self, path: str) -> str:
        """Return the address of a path, as messages name it."""
        return f"{self._base}/{path}"

    async def post(self, path: str, body: dict[str, object], read: Read[T]) -> T:
        """Post `body` and return what `read` makes of an answer with status 200.

        Connections that fail, `BrokenOffError`, and the statuses 408, 429 and 5xx are tried again, all within `timeout_s`.
        Raises `OutageError` if that does not help, `RefusedError` for other statuses, and what `read` raises.
        """
        with self._circuit.call():
            try:
                async with asyncio.timeout(self._patience.timeout_s):
                    return await self._tried_again("POST", path, body, read)
            except TimeoutError:
                raise OutageError(f"{self.url(path)} did not answer within {self._patience.timeout_s} s") from None

    async def get(self, path: str, read: Read[T]) -> T:
        """Get a path, as `post` posts to one."""
        try:
            async with asyncio.timeout(self._patience.timeout_s):
                return await self._tried_again("GET", path, None, read)
        except TimeoutError:
            raise OutageError(f"{self.url(path)} did not answer within {self._patience.timeout_s} s") from None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _tried_again(self, method: str, path: str, body: dict[str, object] | None, read: Read[T]) -> T:
        most, started = self._patience.max_retries + 1, time.monotonic()
        for attempt in range(most):
            try:
                async with self._client.stream(method, self.url(path), json=body) as response:
                    if response.status_code == httpx.codes.OK:
                        return await read(response)
                    text = await _excerpt(response)
                failure = f"{self.url(path)} answered {response.status_code}: {text}"
                if not _is_transient(response.status_code):
                    raise RefusedError(failure, response.status_code)
                pause_s = self._pause_s(attempt, response.headers.get("retry-after"))
            except BrokenOffError as error:
                failure, pause_s = str(error), self._pause_s(attempt, None)
            except httpx.InvalidURL as error:
                raise EngineError(f"{self.url(path)} is no valid URL: {error}") from error
            except httpx.HTTPError as error:
                failure = f"{self.url(path)} could not be reached: {type(error).__name__} {error}".rstrip()
                if not isinstance(error, _NETWORK):
                    raise OutageError(failure) from error
                pause_s = self._pause_s(attempt, None)
            if attempt + 1 < most:
                if time.monotonic() - started + pause_s > self._patience.timeout_s:
                    raise OutageError(
                        f"{failure} (tried {attempt + 1} times; the next try in {pause_s:.1f} s would be past the deadline)"
                    )
                await asyncio.sleep(pause_s)
        raise OutageError(f"{failure} (tried {most} times)")

    def _pause_s(self, attempt: int, retry_after: str | None) -> float:
        asked = _seconds(retry_after)
        if asked is not None:
            return asked
        pause_s = min(self._patience.backoff_s * 2**attempt, self._patience.longest_backoff_s)
        return pause_s * random.uniform(0.5, 1.0)


async def bounded(response: httpx.Response, most_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body in parts. Raises `EngineError` when it is longer than `most_bytes`."""
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > most_bytes:
            raise EngineError(f"{response.url} sent more than {most_bytes} bytes for one answer")
        yield part


async def whole(response: httpx.Response, most_bytes: int) -> bytes:
    """Return the body, as `bounded` yields it."""
    return b"".join([part async for part in bounded(response, most_bytes)])


def _is_transient(status: int) -> bool:
    return status >= 500 or status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS)


def _seconds(retry_after: str | None) -> float | None:
    """Return the pause that a `Retry-After` header asks for: seconds, or a date; None if there is none that makes sense."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


async def _excerpt(response: httpx.Response) -> str:
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) > _ERROR_BODY_BYTES:
            break
    return excerpt(body)


def excerpt(body: bytes) -> str:
    """Return the start of a body, for messages."""
    return body.decode("utf-8", "replace")[:_EXCERPT_CHARACTERS]
