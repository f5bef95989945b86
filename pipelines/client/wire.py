"""What a relay server sends, as this side reads it: models, events of a stream, and the summary of an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.client.errors import ServerError

Writer = Literal["student", "teacher"]
Kind = Literal["relay", "student", "teacher"]


class _Read(BaseModel):
    """Data of the server. What this side does not know is ignored, so that newer servers can be asked."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class ModelFacts(_Read):
    """What the server says about one model beside its id."""

    kind: Kind = "relay"
    policy_version: int = 0
    examples: tuple[str, ...] = ()
    memory: str = "conversation"


class Model(_Read):
    """A model that the server serves."""

    id: str
    relay: ModelFacts = ModelFacts()


class Call(_Read):
    """A call, begun or ended. Places are characters of the answer."""

    start: int
    requested: int
    end: int | None = None
    written: int | None = None
    duration_s: float | None = None
    ending: str | None = None
    """None while the call is going on"""
    reason: str | None = None


class Summary(_Read):
    """What an answer took."""

    calls: tuple[Call, ...] = ()
    call_ratio: float = 0.0
    output_tokens: int = 0
    student_tokens: int = 0
    teacher_tokens: int = 0
    rejected_commands: int = 0
    cost: float = 0.0
    teacher_alone_cost: float = 0.0
    teacher: str = "on"
    policy_version: int = 0
    duration_s: float = 0.0


class Text(_Read):
    """The next part of an answer."""

    writer: Writer
    text: str


class End(_Read):
    """The end of an answer."""

    finish_reason: str
    summary: Summary


class Totals(_Read):
    """The sums over an answer's choices, of which this side needs the currency alone."""

    currency: str = ""


Event = Text | Call | End | Totals


def models_of(body: object) -> tuple[Model, ...]:
    """Return the models of `/v1/models`. Raises `ServerError` if the body is something else."""
    try:
        return tuple(Model.model_validate(one) for one in body["data"])  # type: ignore[index]
    except (TypeError, KeyError, ValidationError):
        raise ServerError("the server's list of models cannot be read: is it a relay server?") from None


def events(chunk: Mapping[str, Any]) -> Iterator[Event]:
    """Yield the events in one chunk of a stream. Raises `ServerError` if it is an error, or cannot be read."""
    if error := chunk.get("error"):
        raise ServerError(
            f"the answer ended early: {error.get('message') or 'the server does not say why'}", status=500
        )
    try:
        choices: Sequence[Mapping[str, Any]] = chunk["choices"]
        if not choices:
            yield Totals.model_validate(chunk.get("relay") or {})
            return
        relay = choices[0].get("relay") or {}
        if text := (choices[0].get("delta") or {}).get("content"):
            yield Text(writer=relay.get("writer", "student"), text=text)
        if "call" in relay:
            yield Call.model_validate(relay["call"])
        if reason := choices[0].get("finish_reason"):
            yield End(finish_reason=reason, summary=Summary.model_validate(relay))
    except (TypeError, KeyError, AttributeError, ValidationError):
        raise ServerError("a part of the answer cannot be read: is it a relay server?") from None


def chunks(lines: Iterator[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the chunks of a stream of server-sent events. Raises `ServerError` if the stream ends without its end mark."""
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return
        try:
            chunk = json.loads(data)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            raise ServerError("a part of the answer cannot be read: is it a relay server?")
        yield chunk
    raise ServerError("the connection to the server was lost before the answer was whole")
