"""Errors that a client gets, in OpenAI's form."""

from __future__ import annotations

from collections.abc import Mapping

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """An answer with an HTTP status other than 200. The message is for the client."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def __reduce__(self) -> tuple[object, ...]:
        """Say how to make it again in another process: pickle would call the class with the message alone."""
        return _again, (self.status, self.message, self.param, self.code, self.headers)

    def body(self) -> dict[str, object]:
        """Return the answer's body."""
        error_type = _TYPES.get(self.status, "server_error")
        return {"error": {"message": self.message, "type": error_type, "param": self.param, "code": self.code}}


def _again(status: int, message: str, param: str | None, code: str | None, headers: Mapping[str, str]) -> ApiError:
    return ApiError(status, message, param=param, code=code, headers=headers)


def bad(param: str, message: str, code: str | None = None) -> ApiError:
    """Return the error of a request whose value at `param` is wrong."""
    return ApiError(400, message, param=param, code=code)
