"""What /openapi.json says about requests and answers."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from actors.serving.answer_forms import ChatChunk, ErrorAnswer, TextChunk
from actors.serving.relay_keys import RelayKeys

if TYPE_CHECKING:
    from fastapi import FastAPI

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _count(least: int, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least} | ({} if most is None else {"maximum": most})


def _relay() -> Schema:
    return RelayKeys.model_json_schema() | {"title": "relay"}


def _common(models: Collection[str], most_choices: int, most_stops: int) -> dict[str, Schema]:
    stops = {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": most_stops}
    return {
        "model": _or_null({"enum": list(models)}),
        "n": _or_null(_count(1, most_choices)),
        "seed": _or_null({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}),
        "stop": _or_null({"anyOf": [{"type": "string", "minLength": 1}, stops]}),
        "stream": _or_null({"type": "boolean"}),
        "stream_options": _or_null({"type": "object", "properties": {"include_usage": {"type": "boolean"}}}),
        "temperature": _or_null({"type": "number", "minimum": 0, "maximum": 2}),
        "top_p": _or_null({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
        "top_k": _or_null(_count(-1)),
        "max_tokens": _or_null(_count(1)),
        "relay": _or_null(_relay()),
    }


def chat_body(models: Collection[str], most_choices: int, most_stops: int) -> Schema:
    """Return the schema of a body of /v1/chat/completions."""
    part = {
        "type": "object",
        "properties": {"type": {"const": "text"}, "text": _TEXT},
        "required": ["type", "text"],
    }
    message = {
        "type": "object",
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant"]},
            "content": {"anyOf": [_TEXT, {"type": "array", "items": part, "minItems": 1}]},
        },
        "required": ["role", "content"],
    }
    properties = _common(models, most_choices, most_stops) | {
        "messages": {"type": "array", "items": message, "minItems": 1},
        "max_completion_tokens": _or_null(_count(1)),
        "logprobs": _or_null({"type": "boolean"}),
        "top_logprobs": _or_null({"const": 0}),
    }
    return {"type": "object", "properties": properties, "required": ["messages"]}


def completion_body(models: Collection[str], most_choices: int, most_stops: int) -> Schema:
    """Return the schema of a body of /v1/completions."""
    ids = {"type": "array", "items": _count(0), "minItems": 1}
    texts = {"type": "array", "items": _TEXT, "minItems": 1}
    many = {"type": "array", "items": ids, "minItems": 1}
    properties = _common(models, most_choices, most_stops) | {
        "prompt": {"anyOf": [_TEXT, texts, ids, many]},
        "logprobs": _or_null({"const": 0}),
    }
    return {"type": "object", "properties": properties, "required": ["prompt"]}


def with_body(schema: Schema) -> dict[str, Any]:
    """Return the part of an operation that describes its body."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


REFUSED: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request is refused. The message says what would be right."},
    "5XX": {"model": ErrorAnswer, "description": "The server could not answer now."},
}
"""the answers of a route to what it does not answer"""

_CHUNKS = (ChatChunk, TextChunk)
_COMPONENTS = "#/components/schemas/"


def or_stream(chunk: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route that can stream, beside the whole answer. `chunk` is the form of an event."""
    schema = {"$ref": f"{_COMPONENTS}{chunk.__name__}"}
    stream = {
        "description": "The whole answer, or with `stream` its events.",
        "content": {"text/event-stream": {"schema": schema}},
    }
    return {200: stream} | REFUSED


def describe_streams(app: FastAPI) -> None:
    """Add the forms of events to the app's document. Its routes must be there."""
    _, forms = models_json_schema([(chunk, "serialization") for chunk in _CHUNKS], ref_template=_COMPONENTS + "{model}")
    app.openapi()["components"]["schemas"] |= forms["$defs"]


ADMIN_BODY: Schema = {
    "type": "object",
    "properties": {"path": {"type": "string", "minLength": 1}},
    "required": ["path"],
}
