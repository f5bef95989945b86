"""Writes what the documentation takes from the code: every key, the tables of metrics and panels, the Grafana dashboard.

`make docs-generate` runs it. A test holds that the committed pages are what it writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.metrics.dashboard import dashboard_json
from cluster.metrics.panels import ROWS
from cluster.metrics.registry import EXPORTED
from pipelines.experiment.schema import Experiment
from pipelines.records.metrics import METRICS

DOCS = Path(__file__).parent
CONFIGURATION = DOCS / "reference" / "configuration.md"
METRIC_PAGE = DOCS / "metrics.md"
MONITORING = DOCS / "monitoring.md"
DASHBOARD = DOCS.parent / "cluster" / "grafana" / "relayllm.json"

Schema = dict[str, Any]

_HEAD = """# Every key of an experiment

This page is written from the schema by `make docs-generate`. The [guide](../configuration.md) explains how the keys work together;
`relayllm schema` prints the same schema as JSON, for editors. A key without a default is required. A default of a block names only what
differs from the block's own defaults.
"""
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
_NAMES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "null": "null"}
_ACRONYMS = ("Citer", "Gpu", "Grpo")
_EXPORTED_TABLE = re.compile(
    r"(?<=\| metric \| kind \| unit \| tags \| meaning \|\n\|---\|---\|---\|---\|---\|\n)(?:\|.*\n)+"
)
_PANEL_TABLE = re.compile(r"(?<=\| row \| panel \| what it tells \|\n\|---\|---\|---\|\n)(?:\|.*\n)+")
_METRIC_TABLE = re.compile(r"(?<=\| metric \| unit \| meaning \|\n\|---\|---\|---\|\n)(?:\|.*\n)+")


def pages() -> dict[Path, str]:
    """Return the content of each page that is generated, or has generated parts."""
    return {
        CONFIGURATION: configuration(),
        METRIC_PAGE: metrics(METRIC_PAGE.read_text(encoding="utf-8")),
        MONITORING: monitoring(MONITORING.read_text(encoding="utf-8")),
        DASHBOARD: dashboard_json(),
    }


def monitoring(page: str) -> str:
    """Return the page with its tables of panels and of exported metrics written anew."""
    exported = "".join(
        f"| `{name}` | {metric.kind} | {metric.unit} | {', '.join(f'`{tag}`' for tag in metric.tags)} | {_cell(metric.meaning)} |\n"
        for name, metric in EXPORTED.items()
    )
    panels = "".join(
        f"| {title} | {panel.title} | {_cell(panel.tells)} |\n" for title, row in ROWS.items() for panel in row
    )
    page = _EXPORTED_TABLE.sub(lambda found: exported, page)
    return _PANEL_TABLE.sub(lambda found: panels, page)


def metrics(page: str) -> str:
    """Return the page with its tables of metrics written anew: those of the prefix that each table begins with."""

    def table(found: re.Match[str]) -> str:
        prefix = found[0].partition("/")[0].removeprefix("| `")
        return "".join(
            f"| `{name}` | {metric.unit} | {_cell(metric.meaning)} |\n"
            for name, metric in METRICS.items()
            if name.startswith(f"{prefix}/")
        )

    return _METRIC_TABLE.sub(table, page)


def configuration() -> str:
    """Return the page with a section for each block of the schema."""
    root = Experiment.model_json_schema()
    blocks: dict[str, Schema] = {name: block for name, block in root["$defs"].items() if "properties" in block}
    found: dict[str, list[str]] = {}
    for place, name in _places(root, root["$defs"], ""):
        found.setdefault(name, []).append(place)
    sections = [_HEAD, "## Experiment\n", *_table(root, root["$defs"])]
    for name, places in found.items():
        written = ", ".join(f"`{place}`" for place in places)
        meaning = blocks[name].get("description", "").partition("\n")[0]
        sections += [f"\n## {_title(name)}\n", f"{meaning}\n", f"In {written}.\n", *_table(blocks[name], root["$defs"])]
    return "\n".join(sections) + "\n"


def _places(block: Schema, defs: Schema, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the name of each block below, from the outside in."""
    below = [
        (f"{prefix}{key}{'.0' if 'items' in field else ''}", name)
        for key, field in block["properties"].items()
        for name in _references(field)
        if "properties" in defs[name]
    ]
    yield from below
    for place, name in below:
        yield from _places(defs[name], defs, f"{place}.")


def _references(field: Schema) -> list[str]:
    options = [field, *(field.get(key) for key in ("items",)), *field.get("anyOf", []), *field.get("oneOf", [])]
    options += field.get("items", {}).get("oneOf", [])
    return [option["$ref"].rpartition("/")[2] for option in options if option and "$ref" in option]


def _table(block: Schema, defs: Schema) -> list[str]:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in block["properties"].items():
        type_of, default = _type(field, defs), _default(key, field, block, defs)
        rows.append(f"| `{key}` | {type_of} | {default} | {_cell(_meaning(field, defs))} |")
    return rows


def _meaning(field: Schema, defs: Schema) -> str:
    """Return a key's description, or else the first line of the block's that it holds."""
    blocks = [defs[name].get("description", "") for name in _references(field)]
    return field.get("description") or (blocks[0].partition("\n")[0] if len(blocks) == 1 else "")


def _type(field: Schema, defs: Schema) -> str:
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(_type(option, defs) for option in field[several])
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        title = _title(name)
        return f"[{title}](#{_anchor(title)})" if "properties" in defs[name] else _type(defs[name], defs)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "prefixItems" in field:
        return f"two of: {_type(field['prefixItems'][0], defs)}"
    if field["type"] == "array":
        return f"list of {_type(field['items'], defs)}"
    if field["type"] == "object":
        keys = defs[field["propertyNames"]["$ref"].rpartition("/")[2]]
        return f"mapping of {_type(keys, defs)} to {_type(field['additionalProperties'], defs)}"
    bounds = [f"{sign} {_flow(field[bound])}" for bound, sign in _BOUNDS.items() if bound in field]
    name = "path" if field.get("format") == "path" else _NAMES[field["type"]]
    return ", ".join([name, *bounds])


def _default(key: str, field: Schema, block: Schema, defs: Schema) -> str:
    if "default" not in field:
        return "required" if key in block.get("required", ()) else ""
    value = field["default"]
    names = _references(field)
    if isinstance(value, dict) and names:
        own = defs[names[0]]["properties"]
        value = {name: part for name, part in value.items() if part != own[name].get("default")}
        return f"`{_flow(value)}`" if value else "its own"
    return f"`{_flow(value)}`"


def _flow(value: object) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and (not value or value != value.strip()):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) or abs(value) < 1 else f"{value:.1f}"
    return value if isinstance(value, str) else json.dumps(value)


def _title(name: str) -> str:
    """Return a class name in words: `GrpoLossSettings` is GRPO loss."""
    first, *rest = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Settings")).split()
    return " ".join([first.upper() if first in _ACRONYMS else first, *map(str.lower, rest)])


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _cell(text: str) -> str:
    """Return text for a cell of a table; outside of code, `<` begins no tag."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


if __name__ == "__main__":
    for path, content in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
