"""Experiment files: YAML that may extend another file, with dotted overrides, checked against a pydantic model.

The layers are the file named by `extends`, the file, and the overrides. Later layers win. Mappings merge key by key; any
other value replaces the earlier one. A mapping of indices changes items of a list. If the schema has a union and a layer
picks another member of it, that layer's mapping replaces the earlier one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cluster.errors import one_line
from cluster.settings import name_with_home
from pipelines.experiment import yaml_values
from pipelines.experiment.errors import (
    ConfigError,
    KeyPath,
    below,
    changes_kind,
    declared_below,
    describe,
    members,
    names_a_secret,
    problem,
    takes_null,
)
from pipelines.experiment.values import NULLS, as_meant, takes_text

__all__ = ["ConfigError", "json_schema", "load", "resolved_yaml", "with_defaults"]

M = TypeVar("M", bound=BaseModel)

EXTENDS = "extends"
OVERRIDE = "override"

_STRING = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"


def load(path: Path, overrides: Sequence[str], model: type[M]) -> M:
    """Return the experiment in the file at `path`, with `key.sub=value` overrides.

    Values are YAML 1.2. Under a text key, a value without quotes is the text as it is written; in files a comment ends it.

    Raises `ConfigError`, which lists every problem of the files and the overrides.
    """
    problems: list[str] = []
    layers = [*_read_with_bases(path, (), problems), _parse_overrides(overrides, model, problems)]
    data: object = {}
    for layer in layers:
        layer.data = as_meant(layer.data, [model], layer.plain)
        data = _merge(data, layer.data, [model], (), layer, problems)

    def where(key: KeyPath) -> str:
        for depth in range(len(key), 0, -1):
            for layer in reversed(layers):
                if key[:depth] in layer.lines:
                    return layer.lines[key[:depth]]
        return str(path)

    try:
        experiment = model.model_validate(data)
    except ValidationError as error:
        problems += describe(error, model, data, where)
    if problems:
        raise ConfigError(problems)
    return experiment


def json_schema(model: type[BaseModel]) -> str:
    """Return the JSON schema of experiment files, for editors. No key is required, since a file may extend another."""
    schema = model.model_json_schema()
    for block in (schema, *schema.get("$defs", {}).values()):
        block.pop("required", None)
    extends = {"type": "string", "description": "a file, relative to this one, whose keys this file adds to or changes"}
    schema["properties"] = {EXTENDS: extends, **schema.get("properties", {})}
    return json.dumps(schema, indent=2) + "\n"


def resolved_yaml(model_instance: BaseModel) -> str:
    """Return every setting with its value, as YAML that `load` reads back to an equal model."""
    return yaml_values.written(_values(model_instance))


def with_defaults(data: object, model: type[BaseModel]) -> object:
    """Return the values of a resolved YAML, with defaults for missing keys; unchanged if `model` rejects them."""
    try:
        return _values(model.model_validate(data))
    except ValidationError:
        return data


def _values(model_instance: BaseModel) -> object:
    return model_instance.model_dump(mode="json", by_alias=True, round_trip=True)


@dataclass
class _Layer:
    """One source of keys, and the place where each is written."""

    data: object = field(default_factory=dict)
    lines: dict[KeyPath, str] = field(default_factory=dict)
    plain: dict[KeyPath, str] = field(default_factory=dict)
    """numbers and booleans without quotes, as they are written"""


def _read_with_bases(path: Path, chain: tuple[Path, ...], problems: list[str]) -> list[_Layer]:
    """Return the file's layer, after the layers of the files that it extends."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else str(error)
        named_by = f", named by `{EXTENDS}` in {chain[-1]}" if chain else ""
        raise ConfigError([*problems, f"{path}: cannot be read: {reason}{named_by}"]) from error
    layer = _parse(text, str(path), problems, numbered=True)
    layer.data = {} if layer.data is None else layer.data
    if not isinstance(layer.data, dict):
        raise ConfigError([*problems, problem(str(path), (), "should be a mapping of keys to values", layer.data)])
    if EXTENDS not in layer.data:
        return [layer]
    base = layer.data.pop(EXTENDS)
    where = layer.lines.pop((EXTENDS,))
    if not isinstance(base, str) or "\0" in base:
        raise ConfigError([*problems, problem(where, (EXTENDS,), "should be one file, relative to this one", base)])
    files = (*chain, path.resolve())
    try:
        base_path = path.parent / name_with_home(base)
    except ValueError as error:
        raise ConfigError([*problems, problem(where, (EXTENDS,), str(error), base)]) from error
    if base_path.resolve() in files:
        circle = " -> ".join(str(file) for file in (*files, base_path.resolve()))
        raise ConfigError(
            [*problems, problem(where, (EXTENDS,), f"files extend each other in a circle: {circle}", base)]
        )
    return [*_read_with_bases(base_path, files, problems), layer]


def _parse(text: str, source: str, problems: list[str], numbered: bool) -> _Layer:
    """Return the YAML's value and the line of each key. Duplicate keys are added to `problems`; unreadable YAML raises `ConfigError`."""

    def place(node: yaml.Node) -> str:
        return f"{source}:{node.start_mark.line + 1}" if numbered else source

    lines: dict[KeyPath, str] = {}
    plain: dict[KeyPath, str] = {}

    def visit(node: yaml.Node, key: KeyPath) -> None:
        if isinstance(node, yaml.ScalarNode):
            plain.pop(key, None)
            if node.style is None and node.tag != _STRING:
                plain[key] = node.value
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                lines[(*key, str(index))] = place(item)
                visit(item, (*key, str(index)))
        elif isinstance(node, yaml.MappingNode):
            first: dict[tuple[str, str], yaml.Node] = {}
            for name, value in sorted(
                node.value, key=lambda item: item[0].tag != _MERGE
            ):  # own keys go over merged ones
                below_key = (*key, str(name.value))
                earlier = first.setdefault((name.tag, str(name.value)), name)
                if earlier is not name:
                    again = f"is written twice (first at line {earlier.start_mark.line + 1}); keep one"
                    problems.append(problem(place(name), below_key, again))
                if name.tag == _MERGE:
                    visit(value, key)
                else:
                    lines[below_key] = place(name)
                    visit(value, below_key)

    try:
        loader = yaml_values.Loader(text)
    except yaml.reader.ReaderError as error:
        line = f":{text.count(chr(10), 0, error.position) + 1}" if numbered else ""
        raise ConfigError(
            [*problems, f"{source}{line}: cannot be read as YAML: {error.reason}, #x{error.character:04x}"]
        ) from error
    try:
        node = loader.get_single_node()
        if node is None:
            return _Layer(None, lines, plain)
        visit(node, ())
        return _Layer(loader.construct_document(node), lines, plain)
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark and numbered else ""
        reason = getattr(error, "problem", None) or str(error).replace("\n", " ")
        raise ConfigError([*problems, f"{source}{line}: cannot be read as YAML: {reason}"]) from error
    except (AttributeError, KeyError) as error:
        raise ConfigError([*problems, f"{source}: cannot be read as YAML: a value does not fit its tag"]) from error
    except RecursionError as error:
        raise ConfigError([*problems, f"{source}: cannot be read as YAML: values are nested too deeply"]) from error
    finally:
        loader.dispose()


def _parse_overrides(overrides: Sequence[str], model: type[BaseModel], problems: list[str]) -> _Layer:
    """Return all overrides as one layer. If two set the same key, the later one wins."""
    layer = _Layer()
    for override in overrides:
        dotted, equals, text = override.partition("=")
        key = tuple(dotted.strip().split("."))
        if not equals or not all(key):
            problems.append(f"{OVERRIDE}: {one_line(override[:100])}: should be key.sub=value")
            continue
        try:
            shown = dotted if names_a_secret(key[-1]) else override
            parsed = _parse_override(text, key, model, f"{OVERRIDE}: {one_line(shown[:100])}", problems)
        except ConfigError as error:
            problems[:] = error.problems
            continue
        nested = parsed.data
        for name in reversed(key):
            nested = {name: nested}
        layer.lines |= {key[:depth]: OVERRIDE for depth in range(1, len(key) + 1)}
        layer.lines |= {(*key, *rest): OVERRIDE for rest in parsed.lines}
        layer.plain = {at: text for at, text in layer.plain.items() if at[: len(key)] != key}
        layer.plain |= {(*key, *rest): text for rest, text in parsed.plain.items()}
        layer.data = _merge(layer.data, nested, [], (), layer, problems)
    return layer


def _parse_override(text: str, key: KeyPath, model: type[BaseModel], source: str, problems: list[str]) -> _Layer:
    """Return the value of one override. It is YAML; for a text key it is the text itself, unless null or in quotes."""
    declared: list[object] = [model]
    for name in key:
        declared = declared_below([member for annotation in declared for member in members(annotation)], name)
    if not takes_text([member for annotation in declared for member in members(annotation)]):
        return _parse(text, source, problems, numbered=False)
    stripped = text.strip()
    if yaml_values.half_of_a_character(text):
        raise ConfigError([*problems, f"{source}: {yaml_values.HALF_OF_A_CHARACTER}"])
    if stripped in NULLS or (not stripped and any(map(takes_null, declared))):
        return _Layer(None)
    if len(stripped) > 1 and stripped[0] in ("'", '"') and stripped[-1] == stripped[0]:
        return _parse(text, source, problems, numbered=False)
    return _Layer(text)


def _merge(
    base: object, over: object, options: Sequence[object], key: KeyPath, layer: _Layer, problems: list[str]
) -> object:
    """Return `base` with the keys of `over`, a value of `layer`. `options` are the schema's types at `key`."""
    if not isinstance(over, dict):
        return over
    if isinstance(base, list) and over and all(str(name).isdecimal() for name in over):
        items = list(base)
        for name, value in over.items():
            item_key = (*key, str(name))
            if int(name) < len(items):
                item_options = below(options, str(name))
                items[int(name)] = _merge(items[int(name)], value, item_options, item_key, layer, problems)
            else:
                right = f"there are {len(items)} items, counted from 0; to add one, give the whole list"
                problems.append(problem(layer.lines[item_key], item_key, right, value))
        return items
    if not isinstance(base, dict):
        return over
    merged = {} if changes_kind(options, base, over) else dict(base)
    for name, value in over.items():
        below_options = below(options, str(name))
        merged[name] = (
            _merge(merged[name], value, below_options, (*key, str(name)), layer, problems) if name in merged else value
        )
    return merged
