"""The server's page: static files that a browser loads from the server alone, with a strict content security policy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.responses import Response

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_routes(app: FastAPI) -> None:
    """Serve the page at `/`, and its style sheet and scripts below `/page/`. They stay out of the API's schema.

    The page asks for `v1/models` and `v1/chat/completions` relative to its own address.
    """
    for entry in files(__name__).iterdir():
        _, _, kind = entry.name.rpartition(".")
        if kind in _TYPES:
            path = "/" if entry.name == "index.html" else f"/page/{entry.name}"
            app.add_api_route(path, _answer(entry.read_bytes(), _TYPES[kind]), methods=["GET"], include_in_schema=False)


def _answer(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=f"{media_type}; charset=utf-8", headers=HEADERS)

    return answer
