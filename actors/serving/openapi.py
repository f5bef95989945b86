"""What /openapi.json says about requests and answers."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from actors.serving.answer_forms import ChatChunk, ErrorAnswer, TextChunk
from actors.serving.protocol import MOST_CHOICES, MOST_STOPS, SEEDS, WITHOUT_EFFECT
from actors.serving.relay_keys import RelayKeys

if TYPE_CHECKING:
    from fastapi import FastAPI

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NULL: Schema = {"type": "null"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, _NULL]}


def _count(least: int, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least} | ({} if most is None else {"maximum": most})


def _relay() -> Schema:
    return RelayKeys.model_json_schema() | {"title": "relay"}


def _body(properties: dict[str, Schema], required: str) -> Schema:
    """Return the schema of an object. Fields that are not known may be null only: some clients send every field that they know."""
    ignored: Schema = {"description": "accepted, without effect on an answer"}
    known = properties | dict.fromkeys(sorted(WITHOUT_EFFECT), ignored)
    has_options = {"properties": {"stream_options": {"type": "object"}}, "required": ["stream_options"]}
    streams = {"properties": {"stream": {"const": True}}, "required": ["stream"]}
    body = {"type": "object", "properties": known, "required": [required], "additionalProperties": _NULL}
    return body | {"if": has_options, "then": streams}


def _common(models: Collection[str]) -> dict[str, Schema]:
    options = {
        "type": "object",
        "properties": {
            "include_usage": _or_null({"type": "boolean"}),
            "continuous_usage_stats": {"enum": [False, None]},
        },
        "additionalProperties": False,
    }
    stops = {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": MOST_STOPS}
    return {
        "model": _or_null({"enum": list(models)}),
        "n": _or_null(_count(1, MOST_CHOICES)),
        "seed": _or_null({"type": "integer", "minimum": SEEDS[0], "maximum": SEEDS[-1]}),
        "stop": _or_null({"anyOf": [{"type": "string", "minLength": 1}, stops]}),
        "stream": _or_null({"type": "boolean"}),
        "stream_options": _or_null(options),
        "temperature": _or_null({"type": "number", "minimum": 0, "maximum": 2}),
        "top_p": _or_null({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
        "top_k": _or_null(_count(-1)),
        "max_tokens": _or_null(_count(1)),
        "relay": _or_null(_relay()),
    }


def chat_body(models: Collection[str]) -> Schema:
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
    properties = _common(models) | {
        "messages": {"type": "array", "items": message, "minItems": 1},
        "max_completion_tokens": _or_null(_count(1)),
        "logprobs": _or_null({"type": "boolean"}),
        "top_logprobs": _or_null({"const": 0}),
    }
    return _body(properties, "messages")


def completion_body(models: Collection[str], tokens: int) -> Schema:
    """Return the schema of a body of /v1/completions. The student's vocabulary has so many `tokens`."""
    ids = {"type": "array", "items": _count(0, tokens - 1), "minItems": 1}
    text = _TEXT | {"minLength": 1}
    texts = {"type": "array", "items": text, "minItems": 1}
    many = {"type": "array", "items": ids, "minItems": 1}
    properties = _common(models) | {
        "prompt": {"anyOf": [text, texts, ids, many]},
        "logprobs": _or_null({"const": 0}),
    }
    return _body(properties, "prompt")


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
    one = {"contentMediaType": "application/json", "contentSchema": {"$ref": f"{_COMPONENTS}{chunk.__name__}"}}
    data = {"type": "string", "anyOf": [one, {"const": "[DONE]"}]}
    event = {"type": "object", "properties": {"data": data}, "required": ["data"]}
    stream = {
        "description": "The whole answer, or with `stream` its events.",
        "content": {"text/event-stream": {"schema": event}},
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
