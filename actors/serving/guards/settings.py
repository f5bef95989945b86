"""The guard rails' settings: API keys with their day's budgets, limits on requests, and where spending is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from actors.serving.guards.amounts import MICRO
from cluster.settings import HomePath, Settings

_MOST = 2**53
"""so that sums stay exact in SQLite, JSON and floats"""

ANONYMOUS = "anonymous"
"""name of the caller, if the server has no API keys"""

_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class DayBudget(Settings):
    """What one API key may use on one day, in UTC. An empty value is no limit."""

    teacher_tokens: int | None = Field(
        None, ge=0, le=_MOST, description="tokens that the teacher writes; 0 leaves the key the student alone"
    )
    cost: float | None = Field(
        None, ge=1 / MICRO, le=_MOST / MICRO, description="money, in the prices' currency; counted in millionths"
    )
    requests: int | None = Field(None, ge=1, le=_MOST, description="answered requests")


class ApiKey(Settings):
    """One API key. The key itself never stands in a file: give the variable that holds it, or its SHA-256."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="how the ledger and the log call the key")
    key_env: _Variable | None = Field(None, description="environment variable that holds the key")
    key_sha256: _Sha256 | None = Field(None, description="SHA-256 of the key, as 64 lower-case hexadecimal digits")
    admin: bool = Field(False, description="whether the key may use the routes under /admin")
    budget: DayBudget = DayBudget()

    @model_validator(mode="after")
    def _one_source(self) -> ApiKey:
        if (self.key_env is None) == (self.key_sha256 is None):
            given = "neither" if self.key_env is None else "both"
            raise ValueError(f"the key {self.name!r} should have key_env or key_sha256, and it has {given}")
        if self.name == ANONYMOUS:
            raise ValueError(f"name ({self.name}) should be another one: this one stands for callers without a key")
        return self


class QueueSettings(Settings):
    """Requests that wait while the server is busy."""

    max_waiting: int = Field(64, ge=0, description="most requests that wait; 0 lets none wait")
    max_wait_s: float = Field(10.0, gt=0.0, le=3600.0, description="longest time that one waits")


class GuardSettings(Settings):
    """The server's guard rails. Limits hold for each ingress replica; budgets hold for all replicas that share the ledger."""

    keys: tuple[ApiKey, ...] = Field((), description="API keys; without any, the server serves this machine only")
    max_body_kib: int = Field(1024, ge=1, le=1024 * 1024, description="largest body of a request")
    body_timeout_s: float = Field(30.0, gt=0.0, description="longest time in which a body has to arrive")
    max_concurrent: int = Field(64, ge=1, description="requests that are answered at the same time")
    max_concurrent_per_key: int | None = Field(
        None, ge=1, description="the same for each API key; only max_concurrent if empty"
    )
    queue: QueueSettings = QueueSettings()
    ledger: HomePath | None = Field(
        None,
        description="SQLite file of what each key used, on a local disk; ledger.sqlite beside the run if empty",
    )
    reservation_s: float = Field(
        3600.0,
        ge=1.0,
        description="after this time a reservation that a crash left is free again; above the longest answer",
    )

    @model_validator(mode="after")
    def _keys_differ(self) -> GuardSettings:
        for what, values in (
            ("name", [key.name for key in self.keys]),
            ("key_env", [key.key_env for key in self.keys]),
            ("key_sha256", [key.key_sha256 for key in self.keys]),
        ):
            if (again := _repeated(values)) is not None:
                raise ValueError(
                    f"keys.{again}.{what} ({values[again]}) should differ from that of every other key: a request has one key"
                )
        return self

    @model_validator(mode="after")
    def _limits_fit(self) -> GuardSettings:
        if self.max_concurrent_per_key is not None and self.max_concurrent_per_key > self.max_concurrent:
            raise ValueError(
                f"max_concurrent_per_key ({self.max_concurrent_per_key}) should be at most max_concurrent "
                f"({self.max_concurrent}), which holds for all keys together"
            )
        if self.max_concurrent_per_key is not None and not self.keys:
            raise ValueError(
                f"max_concurrent_per_key ({self.max_concurrent_per_key}) should be empty without keys: use max_concurrent"
            )
        return self


def _repeated(values: Sequence[str | None]) -> int | None:
    """Return the index of the first value that stands before it too. None is no value."""
    return next((i for i, value in enumerate(values) if value is not None and value in values[:i]), None)
