"""What is wrong with a configuration: one line for each problem, with the key, the value and the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cluster.errors import one_line

KeyPath: TypeAlias = tuple[str, ...]
Where: TypeAlias = Callable[[KeyPath], str]


_PLAINLY = {
    "int_type": "should be an integer",
    "int_parsing": "should be an integer",
    "int_from_float": "should be an integer",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "finite_number": "should be a finite number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "tuple_type": "should be a list, as [a, b]",
    "list_type": "should be a list, as [a, b]",
}


_SECRET = re.compile(r"(^|(?<!per)[_-])(api_?)?(key|token|secret|passwo?r?d|credentials?)$", re.IGNORECASE)


class ConfigError(ValueError):
    """A configuration that cannot be used; the message has one line for each problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def problem(where: str, key: KeyPath, right: str, value: object = None) -> str:
    """Return one line: where the key is written, the dotted key, its value unless None, and what would be right."""
    shown = "" if value is None else f" = {_short(_without_secrets(value, key[-1] if key else ''))}"
    return one_line(f"{where}: {'.'.join(key) or '(top level)'}{shown}: {right}")


def names_a_secret(name: str) -> bool:
    """Return whether the value of a key of this name would be a secret. No key of the schema is: such keys are mistakes."""
    return _SECRET.search(name) is not None


def describe(error: ValidationError, model: type[BaseModel], data: object, where: Where) -> list[str]:
    """Return one line for each key of `data` that `model` rejects. Errors of one key are joined by "or"."""
    found: dict[KeyPath, tuple[object, list[str]]] = {}
    details = error.errors(include_url=False)
    for detail in details:
        within = (other["loc"] for other in details if len(other["loc"]) > len(detail["loc"]))
        if detail["type"] == "too_short" and any(loc[: len(detail["loc"])] == detail["loc"] for loc in within):
            continue  # pydantic drops wrong items, and then also reports the list as too short
        located = _locate(detail["loc"], model, data)
        if located is None:
            continue
        key, siblings, options = located
        key, value, right = _explain(detail, key, siblings, options, model)
        rights = found.setdefault(key, (value, []))[1]
        if right not in rights:
            rights.append(right)
    return [problem(where(key), key, " or ".join(rights), value) for key, (value, rights) in found.items()]


def declared_below(options: Sequence[object], key: str) -> list[object]:
    """Return the declared types of `key` in a value of one of the types `options`; empty if there is no such key."""
    found: list[object] = []
    for option in options:
        origin, arguments = get_origin(option), get_args(option)
        if _is_model(option):
            field = _fields(option).get(key)
            found += [field.annotation] if field else []
        elif not isinstance(origin, type) or not arguments:
            continue
        elif issubclass(origin, Mapping):
            found.append(arguments[1])
        elif issubclass(origin, tuple) and arguments[-1] is not Ellipsis:
            found += [arguments[int(key)]] if key.isdecimal() and int(key) < len(arguments) else []
        elif issubclass(origin, Sequence | AbstractSet):
            found.append(arguments[0])
    return found


def takes_null(annotation: object) -> bool:
    """Return whether the type allows None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return any(takes_null(argument) for argument in get_args(annotation))
    return annotation in (None, NoneType)


def members(annotation: object) -> list[object]:
    """Return the alternatives of a type, without `Annotated` and None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return [member for argument in get_args(annotation) for member in members(argument)]
    return [] if annotation in (None, NoneType) else [annotation]


def below(options: Sequence[object], key: str) -> list[object]:
    """Return the alternative types of `key` in a value of one of the types `options`; empty if there is no such key."""
    return [member for annotation in declared_below(options, key) for member in members(annotation)]


def changes_kind(options: Sequence[object], before: Mapping[object, object], after: Mapping[object, object]) -> bool:
    """Return whether `before` and `after` choose different members of a union of models.

    The choice is made by a literal field that all members have.
    """
    models = [_fields(option) for option in options if _is_model(option)]
    if len(models) < 2:
        return False
    tags = [name for name in models[0] if all(name in fields and _literals(fields[name]) for fields in models)]
    return any(tag in before and tag in after and before[tag] != after[tag] for tag in tags)


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel)


def _fields(model: object) -> dict[str, FieldInfo]:
    assert isinstance(model, type) and issubclass(model, BaseModel)
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _literals(field: FieldInfo) -> tuple[object, ...]:
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _chosen(options: list[object], value: object) -> list[object]:
    """Return the options whose literal fields agree with the value; all options if none agrees."""
    if not isinstance(value, dict):
        return options

    def fits(option: object) -> bool:
        fields = _fields(option) if _is_model(option) else {}
        return all(
            value[name] in _literals(field) for name, field in fields.items() if _literals(field) and name in value
        )

    return [option for option in options if fits(option)] or options


def _locate(
    location: Sequence[int | str], model: type[BaseModel], data: object
) -> tuple[KeyPath, list[object], list[object]] | None:
    """Return the key in `data` that pydantic's location means, the types of its parent, and its own types.

    Pydantic's location also names members of unions, which are no keys. Returns None if the error belongs to a member
    that the data did not choose.
    """
    key: list[str] = []
    siblings: list[object] = []
    options: list[object] = [model]
    value = data
    for index, item in enumerate(location):
        if item == "[key]" and index == len(location) - 1:
            break
        if len(options) > 1:
            chosen = _chosen(options, value)
            labelled = [option for option in options if _answers_to(option, item)]
            if labelled and not any(option in chosen for option in labelled):
                return None
            options = (labelled or chosen)[:1]
            continue
        siblings, options = options, below(options, str(item))
        key.append(str(item))
        value = _child(value, item)
    return tuple(key), siblings, options


def _answers_to(option: object, label: int | str) -> bool:
    if not _is_model(option):
        return False
    return label == getattr(option, "__name__", "") or any(
        label in _literals(field) for field in _fields(option).values()
    )


def _child(value: object, item: int | str) -> object:
    if isinstance(value, dict):
        return value.get(item)
    if isinstance(value, list | tuple) and isinstance(item, int) and item < len(value):
        return value[item]
    return None


def _explain(
    detail: ErrorDetails, key: KeyPath, siblings: list[object], options: list[object], model: type[BaseModel]
) -> tuple[KeyPath, object, str]:
    """Return the key, the wrong value (None if there is none), and what would be right."""
    value, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return key, value, f"unknown key; {_suggestion(key, _names(siblings), model)}"
        case "missing" if isinstance(value, list | tuple):  # of a list with a fixed number of items
            sizes = [len(get_args(option)) for option in siblings if get_origin(option) is tuple]
            return key[:-1], value, f"should have {max(sizes)} items, not {len(value)}"
        case "too_short" | "too_long":
            least, most = context.get("min_length"), context.get("max_length")
            right = f"at least {least}" if most is None else f"at most {most}"
            return key, value, f"should have {right} item{'' if (least or most) == 1 else 's'}"
        case "missing":
            return (
                key,
                None,
                "is required" + (f", with the keys {', '.join(names)}" if (names := _names(options)) else ""),
            )
        case "union_tag_invalid":
            tag = str(context["discriminator"]).strip("'")
            return (*key, tag), context["tag"], f"should be one of {context['expected_tags']}"
        case "union_tag_not_found":
            tag = str(context["discriminator"]).strip("'")
            tags = [repr(literal) for option in options for literal in _literals(_fields(option)[tag])]
            return (*key, tag), None, f"is required: one of {', '.join(tags)}"
        case "model_type" | "model_attributes_type" | "dict_type" | "mapping_type":
            names, entries = _names(options), _entry_names(options)
            right = f" with the keys {', '.join(names)}" if names else ""
            return (
                key,
                value,
                f"should be a mapping{right}" + (f" whose keys are among {', '.join(entries)}" if entries else ""),
            )
        case "enum" if detail["loc"][-1] == "[key]" and (entries := _entry_names(siblings)):
            near = difflib.get_close_matches(key[-1], entries, n=1)
            meant = f"did you mean `{'.'.join((*key[:-1], near[0]))}`? " if near else ""
            return key, None, f"unknown key; {meant}keys here: {', '.join(entries)}"
        case "invalid_key":
            return key, value, "keys should be text: put the key in quotes"
    if plainly := _PLAINLY.get(detail["type"]):
        return key, "null" if value is None else value, plainly
    right = (
        detail["msg"]
        .removeprefix("Value error, ")
        .replace("Input should be", "should be")
        .replace("String should", "should")
    )
    if detail["type"] == "value_error" and isinstance(value, dict):
        return key, None, right  # the rule names the keys that it is about
    if detail["type"] == "literal_error" and isinstance(value, str):
        literals = [literal for option in options for literal in get_args(option) if isinstance(literal, str)]
        near = difflib.get_close_matches(value, literals, n=1)
        right += f"; did you mean `{near[0]}`?" if near else ""
    return key, "null" if value is None else value, right


def _names(options: Sequence[object]) -> list[str]:
    return list(dict.fromkeys(name for option in options if _is_model(option) for name in _fields(option)))


def _entry_names(options: Sequence[object]) -> list[str]:
    """Return the keys that a mapping of one of the types may have; empty if it may have any."""
    names: list[str] = []
    for option in options:
        origin, arguments = get_origin(option), get_args(option)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            kind = arguments[0]
            names += [str(one) for one in kind] if isinstance(kind, type) and issubclass(kind, StrEnum) else []
    return names


def _suggestion(key: KeyPath, here: Sequence[str], model: type[BaseModel]) -> str:
    name = key[-1].replace("-", "_")
    near = [".".join((*key[:-1], match)) for match in difflib.get_close_matches(name, here, n=1)]
    paths = list(schema_paths(model))
    names = {path[-1] for path in paths}
    elsewhere = [name] if name in names or near else difflib.get_close_matches(name, names, n=1)
    near += [".".join(path) for path in paths if path[-1] in elsewhere and path[:-1] != key[:-1]]
    guesses = list(dict.fromkeys(near))[:3]
    return (
        f"did you mean {' or '.join(f'`{guess}`' for guess in guesses)}?"
        if guesses
        else f"keys here: {', '.join(here)}"
    )


def schema_paths(option: object, prefix: KeyPath = (), above: tuple[object, ...] = ()) -> Iterator[KeyPath]:
    """Yield every key of the schema. An item of a list has the key `0`, an entry of a mapping `*`."""
    if option in above:
        return
    if _is_model(option):
        for name, field in _fields(option).items():
            yield (*prefix, name)
            for member in members(field.annotation):
                yield from schema_paths(member, (*prefix, name), (*above, option))
        return
    origin = get_origin(option)
    if isinstance(origin, type) and issubclass(origin, Mapping | Sequence | AbstractSet):
        item = "*" if issubclass(origin, Mapping) else "0"
        for member in below([option], item):
            yield from schema_paths(member, (*prefix, item), above)


def _without_secrets(value: object, name: str) -> object:
    """Return a value as it may be shown: what stands under a name such as `api_key` or `password` is left out."""
    if names_a_secret(name) and isinstance(value, str):
        return _Hidden()
    if isinstance(value, dict):
        return {key: _without_secrets(one, str(key)) for key, one in value.items()}
    return [_without_secrets(one, name) for one in value] if isinstance(value, list) else value


class _Hidden:
    def __repr__(self) -> str:
        return "(not shown)"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
