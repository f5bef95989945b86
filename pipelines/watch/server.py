"""The live page's server. It answers GET alone, and reaches nothing but the runs of its fleet."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING

from pipelines.watch.fleet import Fleet
from pipelines.watch.state import FleetState

if TYPE_CHECKING:
    from starlette.applications import Starlette

LOCAL = ("127.0.0.1", "localhost", "::1")
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_SHARED = ("look.css", "theme.js", "words.js")
"""files that the page has in common with that of the relay server"""
_FRESH_S = 1.0
"""several open pages share what was read in so many seconds"""
_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
"""A report has its style and script inside, so it gets an origin of its own, from which nothing else can be read."""


class _Recent:
    """The state of the fleet, read again at most every second."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._fleet, self._clock = fleet, clock
        self._one_at_a_time = threading.Lock()
        self._state: FleetState | None = None
        self._read_at = 0.0

    def state(self) -> FleetState:
        with self._one_at_a_time:
            if self._state is None or self._clock() - self._read_at >= _FRESH_S:
                self._state = self._fleet.refresh()
                self._read_at = self._clock()
            return self._state


def watch_app(fleet: Fleet, host: str = "127.0.0.1", clock: Callable[[], float] = time.monotonic) -> Starlette:
    """Return the app: the page at `/`, the states as JSON below `/api`, reports below `/runs`.

    Bound to this machine alone, it answers only requests that name this machine: a page of another site, which has a
    name resolve to this machine, gets nothing.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from actors.serving.page import HEADERS

    recent, page = _Recent(fleet, clock), _files()

    def as_json(request: Request, state: object) -> Response:
        content = json.dumps(state, allow_nan=False).encode()
        tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
        headers = {**HEADERS, "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type="application/json", headers=headers)

    def nothing(request: Request) -> Response:
        return Response("There is nothing here.", 404, HEADERS, "text/plain")

    def runs(request: Request) -> Response:
        return as_json(request, asdict(recent.state()))

    def run(request: Request) -> Response:
        recent.state()  # finds runs that are new, and leaves out those that are gone
        detail = fleet.detail(request.path_params["id"])
        return nothing(request) if detail is None else as_json(request, asdict(detail))

    def report(request: Request) -> Response:
        recent.state()
        content = fleet.report(request.path_params["id"])
        if content is None:
            return nothing(request)
        return Response(content, headers={**HEADERS, "Content-Security-Policy": _REPORT_POLICY}, media_type="text/html")

    def file(request: Request) -> Response:
        found = page.get(request.path_params["name"])
        if found is None:
            return nothing(request)
        content, kind = found
        return Response(content, media_type=_TYPES[kind], headers=HEADERS)

    routes = [
        Route("/api/runs", runs),
        Route("/api/runs/{id}", run),
        Route("/runs/{id}/report.html", report),
        Route("/{name:path}", file),
    ]
    here = [Middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"])] if host in LOCAL else []
    return Starlette(routes=routes, middleware=[*here, Middleware(GZipMiddleware)])


def _files() -> dict[str, tuple[bytes, str]]:
    """Return content and kind of the page's files, by their address without the first slash."""
    shared = [entry for entry in files("actors.serving.page").iterdir() if entry.name in _SHARED]
    own = [entry for entry in files("pipelines.watch").joinpath("page").iterdir()]
    found = {}
    for entry in (*shared, *own):
        kind = entry.name.rpartition(".")[2]
        if kind in _TYPES:
            found["" if entry.name == "index.html" else f"page/{entry.name}"] = entry.read_bytes(), kind
    return found
