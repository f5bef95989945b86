"""API keys: who sends a request, and whether that caller may use the admin routes."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Scope

from actors.serving.errors import ApiError
from actors.serving.guards.addresses import is_local_request, is_loopback_address
from actors.serving.guards.amounts import Limits, budget_in_micro
from actors.serving.guards.settings import ANONYMOUS, ApiKey, DayBudget, GuardSettings
from cluster.errors import RunError

SHORTEST = 16
"""characters of a key; shorter ones can be guessed"""
_CALLER = "relay_caller"
"""of a request's state"""


class ApiKeyError(RunError):
    """An API key cannot be used. The message names the setting, and never the key."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request."""

    name: str
    """the API key's name; `ANONYMOUS` if the server has no keys"""
    admin: bool
    limits: Limits
    """of a day"""


class KeyRing:
    """Knows all API keys by their SHA-256."""

    def __init__(self, settings: GuardSettings, environ: Mapping[str, str] | None = None) -> None:
        """Read the keys that stand in environment variables. Raises `ApiKeyError` if one is missing or can be guessed."""
        self._callers: list[tuple[bytes, Caller]] = []
        for i, key in enumerate(settings.keys):
            digest = _digest(i, key, os.environ if environ is None else environ)
            for other, caller in self._callers:
                if hmac.compare_digest(other, digest):
                    raise ApiKeyError(f"guards.keys.{i} ({key.name}) should be another key than that of {caller.name}")
            self._callers.append((digest, Caller(key.name, key.admin, limits_of(key.budget))))

    @property
    def empty(self) -> bool:
        """Whether there are no keys, so that every local caller may ask."""
        return not self._callers

    def identify(self, scope: Scope) -> Caller:
        """Return who sends the request of this ASGI scope.

        Raises `ApiError` (401) if there are keys and it has none of them, or if there are no keys and it comes from another
        machine.
        """
        headers: list[tuple[bytes, bytes]] = scope.get("headers", [])
        if self.empty:
            client = scope.get("client")
            if client is None or not is_loopback_address(str(client[0])):
                raise _unauthorised("this server has no API keys (guards.keys), so it serves its own machine only")
            return Caller(ANONYMOUS, is_local_request(scope.get("client"), headers), Limits())
        return self.caller_of_token(_bearer_token(headers))

    def caller_of_token(self, token: bytes) -> Caller:
        """Return the caller with this key. Raises `ApiError` (401) if there is none.

        The time does not depend on which key it is, nor on how many of its characters are right.
        """
        digest = hashlib.sha256(token).digest()
        found: Caller | None = None
        for other, caller in self._callers:
            if hmac.compare_digest(other, digest):
                found = caller
        if found is None:
            raise _unauthorised("the API key is not known to this server: check the key that the client sends")
        return found


def with_digests(settings: GuardSettings, environ: Mapping[str, str] = os.environ) -> GuardSettings:
    """Return the settings with the SHA-256 of each key in place of its variable, so that no other process needs the variable.

    Raises `ApiKeyError` as `KeyRing` does.
    """
    KeyRing(settings, environ)
    keys = [
        key.model_copy(update={"key_env": None, "key_sha256": _digest(i, key, environ).hex()})
        for i, key in enumerate(settings.keys)
    ]
    return settings.model_copy(update={"keys": tuple(keys)})


def limits_of(budget: DayBudget) -> Limits:
    """Return a day's budget in exact amounts."""
    cost = None if budget.cost is None else budget_in_micro(budget.cost)
    return Limits(requests=budget.requests, teacher_tokens=budget.teacher_tokens, cost_micro=cost)


def remember_caller(scope: Scope, caller: Caller) -> None:
    """Note on a request who sends it, for `caller_of`."""
    scope.setdefault("state", {})[_CALLER] = caller


def caller_of(request: Request) -> Caller:
    """Return who sends the request. It is a FastAPI dependency, and needs the `GuardMiddleware`."""
    caller = request.scope.get("state", {}).get(_CALLER)
    if not isinstance(caller, Caller):
        raise RuntimeError(f"{request.url.path}: nobody noted who asks; add GuardMiddleware to the app")
    return caller


def admin_of(request: Request) -> Caller:
    """Return who sends a request to an admin route. It is a FastAPI dependency. Raises `ApiError` (403) for any other caller."""
    caller = caller_of(request)
    if not caller.admin:
        right = (
            "without API keys it is open to programs on the server's machine only, and not through a proxy"
            if caller.name == ANONYMOUS
            else f"it needs a key with admin: true, and that of {caller.name} has admin: false"
        )
        raise ApiError(403, f"{request.url.path}: {right}", code="admin_key_needed")
    return caller


def _digest(index: int, key: ApiKey, environ: Mapping[str, str]) -> bytes:
    if key.key_sha256 is not None:
        return bytes.fromhex(key.key_sha256)
    assert key.key_env is not None
    secret = environ.get(key.key_env, "")
    where = f"guards.keys.{index}.key_env ({key.key_env})"
    if not secret:
        raise ApiKeyError(
            f"{where} should name an environment variable that holds the key of {key.name}, and it is not set"
        )
    if secret != secret.strip() or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ApiKeyError(f"{where} should hold a key of printable ASCII characters without spaces")
    if len(secret) < SHORTEST:
        raise ApiKeyError(
            f"{where} should hold a key of {SHORTEST} characters or more, not {len(secret)}, which can be guessed"
        )
    return hashlib.sha256(secret.encode()).digest()


def _bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the key of the `Authorization` header. Raises `ApiError` (401) unless there is exactly one."""
    found = [value for name, value in headers if name.lower() == b"authorization"]
    if not found:
        raise _unauthorised("an API key is needed: send it as the header Authorization: Bearer <key>")
    scheme, _, token = found[0].strip().partition(b" ")
    token = token.strip()
    if len(found) > 1 or scheme.lower() != b"bearer" or not token:
        raise _unauthorised("the header Authorization should stand once, as Bearer <key>")
    return token


def _unauthorised(message: str) -> ApiError:
    return ApiError(401, message, code="invalid_api_key")
