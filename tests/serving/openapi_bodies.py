"""Draws request bodies from an OpenAPI document: bodies that fit a schema, and bodies with faults."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Schema = Mapping[str, Any]
_DEEPEST = 5
_JUNK = [
    None, True, False, -1, 0, 10**30, 1.5, -1e308, float("nan"), float("inf"), "", "x" * 300, "\x00", "\ud800", "</call>",
    "<call>9</call>", "９", [], {}, [[]], [None], {"": None}, {"a": {"b": {}}},
]  # fmt: skip
_RAW = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b"[" * 5000,
    b'{"n":' + b"9" * 5000 + b"}",
    b'{"a":1,"a":2}',
    b"{}x",
]


@dataclass(frozen=True, slots=True)
class Operation:
    """One POST of a document that takes a JSON body."""

    path: str
    body: Schema
    responses: Mapping[str, Any]
    """by status"""


def operations(document: Schema) -> list[Operation]:
    """Return the operations that take a JSON body."""
    found = []
    for path, methods in document["paths"].items():
        operation = methods.get("post", {})
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        if body is not None:
            found.append(Operation(path, body, operation.get("responses", {})))
    return found


def fitting(schema: Schema, document: Schema, depth: int = 0) -> st.SearchStrategy[Any]:
    """Return a strategy of values that fit the schema. Numbers stay small, so that a real server has little to do."""
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return fitting(found, document, depth)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return st.one_of([fitting(one, document, depth + 1) for one in schema[choice]])
    if "allOf" in schema:
        return fitting(schema["allOf"][0], document, depth)
    return _of_type(schema, document, depth)


def _of_type(schema: Schema, document: Schema, depth: int) -> st.SearchStrategy[Any]:
    kind = schema.get("type")
    if kind == "integer":
        low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        return st.integers(low, max(min(schema.get("maximum", schema.get("exclusiveMaximum", 41) - 1), low + 40), low))
    if kind == "number":
        low, high = float(schema.get("minimum", 0.0)), float(schema.get("maximum", 2.0))
        return st.floats(low, max(high, low), exclude_min="exclusiveMinimum" in schema, width=32)
    if kind == "string":
        return st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 12), 12))
    if kind == "boolean":
        return st.booleans()
    if kind == "null":
        return st.none()
    if kind == "array":
        low = schema.get("minItems", 0)
        return st.lists(fitting(schema.get("items", {}), document, depth + 1), min_size=low, max_size=max(low, 2))
    if kind == "object" or "properties" in schema:
        required = schema.get("required", [])
        properties = {
            name: fitting(one, document, depth + 1)
            for name, one in schema.get("properties", {}).items()
            if name in required or depth < _DEEPEST
        }
        return st.fixed_dictionaries(
            {name: one for name, one in properties.items() if name in required},
            optional={name: one for name, one in properties.items() if name not in required},
        )
    return st.sampled_from([None, True, 1, "text", [], {}])


@st.composite
def faulty(draw: st.DrawFn, schema: Schema, document: Schema) -> bytes:
    """Draw a body that fits except for one fault or two: a value of another kind, a key too many or too few, or no JSON."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.one_of(st.sampled_from(_RAW), st.binary(max_size=20)))
    body = copy.deepcopy(draw(fitting(schema, document)))
    for _ in range(draw(st.integers(1, 2))):
        places = list(_places(body))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        fault = draw(st.sampled_from(["replace", "remove", "add"]))
        if fault == "replace":
            holder[key] = draw(st.sampled_from(_JUNK))
        elif fault == "remove":
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(["unknown", "", "relay", "stream", "n"]))] = draw(st.sampled_from(_JUNK))
        else:
            holder.append(draw(st.sampled_from(_JUNK)))
    return json.dumps(body).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place within a JSON value, as its holder and its key."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from _places(value[key])
