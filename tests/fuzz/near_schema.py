"""Documents that are near a JSON schema: what it asks for, with some values of the wrong kind in some places."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

_ODD_SCALARS = [None, True, False, 0, 1, -1, 7, 0.5, -0.0, 1e308, -1e308, math.inf, math.nan, 2**63, 10**30]
_ODD_TEXTS = [
    "",
    " ",
    "no",
    "null",
    "007",
    "1e-6",
    "a.b",
    "../x",
    "/",
    "~",
    "~nobody/x",
    "$HOME",
    "\x85",
    "a\0b",
    "x" * 300,
]
_ODD_ITEMS = [[], [[]], {}, {"": None}, {"a": {"a": 1}}, "<call>1</call>", "café"]
_ODD = st.sampled_from([*_ODD_SCALARS, *_ODD_TEXTS, *_ODD_ITEMS])
"""values that have been wrong somewhere"""
ANYTHING = st.recursive(
    _ODD | st.text(max_size=8) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_KEYS = st.text(max_size=6) | st.sampled_from(["extends", "name", "0", "path", "<<", "pretrain", "runs"])


class NearSchema:
    """Draws documents of one JSON schema. `wrong` of 100 values are anything, whatever the schema says."""

    def __init__(self, schema: Mapping[str, Any], wrong: int = 3) -> None:
        self._defs: Mapping[str, Any] = schema.get("$defs", {})
        self._schema = schema
        self._wrong = wrong

    def documents(self) -> st.SearchStrategy[Any]:
        return st.composite(lambda draw: self._drawn(draw, self._schema))()

    def _drawn(self, draw: st.DrawFn, schema: Mapping[str, Any]) -> Any:
        if draw(st.integers(0, 99)) < self._wrong:
            return draw(ANYTHING)
        if "$ref" in schema:
            return self._drawn(draw, self._defs[schema["$ref"].rpartition("/")[2]])
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self._drawn(draw, draw(st.sampled_from(schema[several])))
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return draw(st.sampled_from(schema["enum"]))
        match schema.get("type"):
            case "object":
                return self._mapping(draw, schema)
            case "array":
                return self._list(draw, schema)
            case "boolean":
                return draw(st.booleans())
            case "integer" | "number" as kind:
                return draw(_numbers(schema, kind))
            case "null":
                return None
        return draw(st.text(max_size=12))

    def _mapping(self, draw: st.DrawFn, schema: Mapping[str, Any]) -> dict[str, Any]:
        names = list(schema.get("properties", {}))
        chosen = draw(st.lists(st.sampled_from(names), max_size=4, unique=True)) if names else []
        chosen += [name for name in schema.get("required", []) if name not in chosen and draw(st.integers(0, 19))]
        found = {name: self._drawn(draw, schema["properties"][name]) for name in chosen}
        if isinstance(inner := schema.get("additionalProperties"), Mapping):
            kinds = schema.get("propertyNames", {"type": "string"})
            for _ in range(draw(st.integers(0, 2))):
                found[str(self._drawn(draw, kinds))] = self._drawn(draw, inner)
        if draw(st.integers(0, 99)) < self._wrong:
            found[draw(_KEYS)] = draw(ANYTHING)
        return found

    def _list(self, draw: st.DrawFn, schema: Mapping[str, Any]) -> list[Any]:
        first = [self._drawn(draw, item) for item in schema.get("prefixItems", [])]
        rest = schema.get("items")
        more = draw(st.integers(0, 3)) if isinstance(rest, Mapping) and not first else 0
        return first + [self._drawn(draw, rest) for _ in range(more)]


def _numbers(schema: Mapping[str, Any], kind: str) -> st.SearchStrategy[Any]:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -100))
    most = schema.get("maximum", schema.get("exclusiveMaximum", max(least, 1) * 10))
    bounds = [least, most, least - 1, most + 1]
    return st.sampled_from(bounds) | (
        st.integers(math.ceil(least), math.floor(most)) if kind == "integer" else st.floats(least, most)
    )
