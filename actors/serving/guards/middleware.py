"""The guard rails as ASGI middleware: API key, size of the body, number of requests. Streams pass through unbuffered."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.serving.error_answers import answer_of
from actors.serving.errors import ApiError
from actors.serving.guards.admission import Admission
from actors.serving.guards.body import ClientGoneError, ReplayedBody, read_body
from actors.serving.guards.keys import KeyRing, remember_caller
from actors.serving.guards.settings import GuardSettings

OPEN_PATHS = frozenset({"/", "/health", "/openapi.json"})
"""what needs no API key, when it is only read"""
OPEN_FOLDER = "/page/"
"""the files of the page"""
_KIB = 1024


class GuardMiddleware:
    """Lets a request through to the app if its API key, its body and the number of running requests allow it.

    Every path needs an API key if there are any, except those of `OPEN_PATHS` and `OPEN_FOLDER`. Requests that the models
    answer, which are POSTs to `/v1/`, are limited in number. Nothing of this touches the answer: each message goes out as it
    comes. A client that goes gives its place back, in the queue or in the engines.
    """

    def __init__(self, app: ASGIApp, settings: GuardSettings, keys: KeyRing, admission: Admission) -> None:
        self._app = app
        self._settings = settings
        self._keys = keys
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: ASGI's interface."""
        if scope["type"] == "websocket":  # no route has one, and none should be added past the guard rails
            await send({"type": "websocket.close", "code": 1008, "reason": "this server has no websockets"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._guarded(scope, receive, send)
        except ClientGoneError:
            return

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, reads = _path(scope), scope["method"] in ("GET", "HEAD")
        is_open = reads and (path in OPEN_PATHS or path.startswith(OPEN_FOLDER))
        asks_models = scope["method"] == "POST" and path.startswith("/v1/")
        async with contextlib.AsyncExitStack() as held:
            try:
                if not is_open or self._keys.empty:
                    remember_caller(scope, caller := self._keys.identify(scope))
                if reads:
                    answer = self._app(scope, receive, send)
                elif not asks_models:
                    answer = self._app(scope, ReplayedBody(await self._body(scope, receive), receive), send)
                else:
                    async with self._admission.arriving(caller.name):
                        body = await self._body(scope, receive)
                    client = ReplayedBody(body, receive)
                    held.push_async_callback(client.close)
                    await self._admit(caller.name, client, held)
                    answer = self._while_there(scope, client, send)
            except ApiError as error:
                await answer_of(error)(scope, receive, send)
                return
            await answer

    async def _while_there(self, scope: Scope, client: ReplayedBody, send: Send) -> None:
        """Let the app answer until the client goes, or takes no part of the answer for as long as its body may take."""
        ended = False

        async def sent(message: Message) -> None:
            nonlocal ended
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            try:
                async with asyncio.timeout(self._settings.body_timeout_s):
                    await send(message)
            except TimeoutError:
                raise ClientGoneError from None

        answering = asyncio.ensure_future(self._app(scope, client, sent))
        leaving = asyncio.ensure_future(client.client_gone())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if ended:  # the client may go; what is left is to settle
                await asyncio.wait([answering])
        finally:
            leaving.cancel()
            if not answering.done():
                answering.cancel()
                await asyncio.wait([answering])
        if answering.cancelled():
            raise ClientGoneError
        answering.result()

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        return await read_body(scope, receive, self._settings.max_body_kib * _KIB, self._settings.body_timeout_s)

    async def _admit(self, key: str, client: ReplayedBody, held: contextlib.AsyncExitStack) -> None:
        """Wait for a place, which `held` gives back. Raises `ClientGoneError` if the client goes first."""
        entering = asyncio.ensure_future(self._admission.admit(key))
        leaving = asyncio.ensure_future(client.client_gone())
        try:
            await asyncio.wait((entering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not entering.done():
                entering.cancel()
                await asyncio.wait([entering])
            if not entering.cancelled() and entering.exception() is None:
                held.callback(entering.result().release)
        if entering.cancelled():
            raise ClientGoneError
        entering.result()


def _path(scope: Scope) -> str:
    """Return the path that the app routes by: without the path under which a proxy serves it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and (path == root or path.startswith(f"{root}/")):
        return path[len(root) :]
    return path
