"""The key `relay` of a request: what the answer may take from the teacher, and what it may cost."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.serving.errors import ApiError, bad


class RelayKeys(BaseModel):
    """All keys are optional."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    max_teacher_tokens: int | None = Field(None, ge=0)
    """most output tokens that the teacher may write, in all choices together"""
    max_call_ratio: float | None = Field(None, ge=0.0, le=1.0)
    """most output tokens of the teacher, as a share of all output tokens"""
    max_calls: int | None = Field(None, ge=0)
    max_cost: float | None = Field(None, ge=0.0)
    """most that the request may cost, in the server's currency"""
    teacher: Literal["on", "off"] = "on"
    show_commands: bool = False


def read_relay_keys(value: object) -> RelayKeys:
    """Return the keys of a request. Raises `ApiError`, which names the key, its value and what would be right."""
    if value is None:
        return RelayKeys()
    if not isinstance(value, dict):
        raise bad("relay", f"relay is {value!r:.80}, but should be an object with keys such as max_call_ratio")
    try:
        return RelayKeys.model_validate(value)
    except ValidationError as error:
        raise as_api_error(error, "relay", list(RelayKeys.model_fields)) from error


def as_api_error(error: ValidationError, where: str, known: Sequence[str] = ()) -> ApiError:
    """Return the first problem of a validation as a client's error."""
    first: Any = error.errors(include_url=False)[0]
    path = ".".join(
        f"{part:.80}" if isinstance(part, str) else str(part) for part in [*filter(None, [where]), *first["loc"]]
    )
    if first["type"] == "extra_forbidden":
        near = get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return bad(path, f"{path} is not a known key: {hint}")
    return bad(path, f"{path}: {first['msg']}; it is {first.get('input')!r:.200}")
