"""The error that a client gets, in OpenAI's form: one class for the models, the guard rails and the replicas."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
_BODY_IS_LEFT = (408, 413)
"""statuses of requests whose body is not read to its end, so that the connection cannot be used again"""


class ApiError(Exception):
    """An answer with an HTTP status other than 200. The message is for the client, and says what would be right."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Raises ValueError if a time to wait is given that is not finite."""
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_after_s = None if retry_after_s is None else max(math.ceil(retry_after_s), 1)
        self._headers = dict(headers or {})

    def __reduce__(self) -> tuple[object, ...]:
        """Say how to make it again in another process: pickle would call the class with the message alone."""
        return _again, (self.status, self.message, self.param, self.code, self.retry_after_s, self._headers)

    @property
    def type(self) -> str:
        """OpenAI's name for errors of this status."""
        return _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")

    @property
    def body(self) -> dict[str, object]:
        """The answer's body."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    @property
    def content(self) -> bytes:
        """The answer's body as JSON. It is ASCII, so that every text can be quoted."""
        return json.dumps(self.body).encode()

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers, without its length."""
        headers = {"content-type": "application/json", **self._headers}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(self.retry_after_s)
        if self.status == 401:
            headers["www-authenticate"] = 'Bearer realm="relayllm"'
        if self.status in _BODY_IS_LEFT:
            headers["connection"] = "close"
        return headers


def _again(
    status: int,
    message: str,
    param: str | None,
    code: str | None,
    retry_after_s: float | None,
    headers: Mapping[str, str],
) -> ApiError:
    return ApiError(status, message, param=param, code=code, retry_after_s=retry_after_s, headers=headers)


def bad(param: str, message: str, code: str | None = None) -> ApiError:
    """Return the error of a request whose value at `param` is wrong."""
    return ApiError(400, message, param=param, code=code)
