"""What a relay server refused, in plain words, and whether asking again may help."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from cluster.errors import RunError

_MEANINGS = {
    401: "the server wants an API key, or does not know this one (set it in the variable that --api-key-env names)",
    403: "this API key may not do that",
    404: "the server does not serve this model",
    413: "the conversation is too long for the server",
    429: "the server has too many requests now",
    503: "the server cannot answer now: it has no student, or is being stopped",
    504: "the answer took longer than the server allows",
}
_PASSING = {408, 429, 500, 502, 503}
_ENDS_ALL = {401, 403, 404}


class ServerError(RunError):
    """The server did not answer as asked. The message is for a person."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        is_absent: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after_s = status, code, retry_after_s
        self.is_absent = is_absent
        """no connection could be made at all"""

    @property
    def is_budget(self) -> bool:
        """Whether the day's budget of the key is spent."""
        return self.code == "budget_exceeded"

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be answered a little later."""
        return not self.is_budget and (self.status is None or self.status in _PASSING)

    @property
    def ends_all(self) -> bool:
        """Whether every other request would be refused for the same reason."""
        return self.is_budget or self.is_absent or self.status in _ENDS_ALL


def refusal(response: httpx.Response, body: object) -> ServerError:
    """Return the error of an answer that is no success. `body` is its JSON, or None."""
    error = body.get("error") if isinstance(body, dict) else None
    said = error if isinstance(error, dict) else {}
    code = said.get("code") if isinstance(said.get("code"), str) else None
    meaning = _MEANINGS.get(response.status_code, f"the server refused the request (status {response.status_code})")
    if code == "budget_exceeded":
        meaning = "today's budget of this key is spent"
    elif response.status_code >= 500 and response.status_code not in _MEANINGS:
        meaning = f"the server failed (status {response.status_code})"
    wait_s = retry_after(response.headers.get("retry-after"))
    parts = [meaning, f": {said['message']}" if said.get("message") else ""]
    parts.append(f" (try again in {math.ceil(wait_s)} s)" if wait_s else "")
    return ServerError("".join(parts), status=response.status_code, code=code, retry_after_s=wait_s)


def lost(error: httpx.HTTPError, address: str) -> ServerError:
    """Return the error of a request that got no whole answer."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ServerError(f"no server answers at {address}", is_absent=True)
    if isinstance(error, httpx.TimeoutException):
        return ServerError(f"the server at {address} said nothing for too long")
    return ServerError(f"the connection to {address} was lost")


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, given as seconds or as a date; None if it is unreadable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None
