"""Asks one relay server: its models, and answers as they are written."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Any

import httpx

from pipelines.client.errors import ServerError, lost, refusal
from pipelines.client.wire import Event, Kind, Model, chunks, events, models_of

_CONNECT_S = 10.0
_SILENCE_S = 600.0
"""longest time without a byte from the server"""


def headers_of(api_key: str | None) -> dict[str, str]:
    """Return the headers of each request. Raises `ServerError` if the key cannot be sent."""
    if not api_key:
        return {}
    if not (api_key.isascii() and api_key.isprintable()):
        raise ServerError("the API key has characters that no key has: blanks at its end, or letters beyond ASCII")
    return {"Authorization": f"Bearer {api_key}"}


def timeouts(silence_s: float = _SILENCE_S) -> httpx.Timeout:
    """Return the deadlines of a request."""
    return httpx.Timeout(silence_s, connect=_CONNECT_S)


class Connection:
    """A connection to one server."""

    def __init__(self, address: str, api_key: str | None = None) -> None:
        self.address = address
        self._client = httpx.Client(
            base_url=address, headers=headers_of(api_key), timeout=timeouts(), trust_env=_is_remote(address)
        )

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def models(self) -> dict[Kind, Model]:
        """Return the server's models by their kind. Raises `ServerError`."""
        try:
            response = self._client.get("v1/models")
        except httpx.HTTPError as error:
            raise lost(error, self.address) from None
        if not response.is_success:
            raise refusal(response, _json(response))
        found: dict[Kind, Model] = {}
        for model in models_of(_json(response)):
            found.setdefault(model.relay.kind, model)
        if "relay" not in found:
            raise ServerError(f"the server at {self.address} serves no relay student")
        return found

    def stream(self, body: Mapping[str, Any]) -> Generator[Event, None, None]:
        """Yield the events of one chat answer. Closing the iterator aborts the answer. Raises `ServerError`."""
        asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
        try:
            with self._client.stream("POST", "v1/chat/completions", json=asked) as response:
                if not response.is_success:
                    response.read()
                    raise refusal(response, _json(response))
                for chunk in chunks(response.iter_lines()):
                    yield from events(chunk)
        except httpx.HTTPError as error:
            raise lost(error, self.address) from None


def _is_remote(address: str) -> bool:
    """Return whether proxies of the environment may be used: never for this machine."""
    return httpx.URL(address).host not in ("localhost", "127.0.0.1", "::1")


def _json(response: httpx.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return None
