"""Reads each value of a file or an override by the type of its key: a text key takes the text as it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Literal, get_args, get_origin

from pipelines.experiment.errors import KeyPath, below

NULLS = ("~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True)
class Misfit:
    """A value whose type does not fit its key. Pydantic rejects it, but would turn `true` or `'7'` into a number."""

    written: str

    def __repr__(self) -> str:
        return self.written


def as_meant(value: object, options: Sequence[object], plain: Mapping[KeyPath, str], key: KeyPath = ()) -> object:
    """Return `value` with every item read by the type of its key. `options` are the types that `key` takes.

    `plain` are the numbers and booleans without quotes, as they are written: a text key takes that text.
    """
    if isinstance(value, dict):
        return {
            name: as_meant(item, below(options, str(name)), plain, (*key, str(name))) for name, item in value.items()
        }
    if isinstance(value, list):
        return [
            as_meant(item, below(options, str(index)), plain, (*key, str(index))) for index, item in enumerate(value)
        ]
    if value is None or not options:
        return value
    if takes_text(options):
        return plain.get(key, value)
    return value if any(_fits(value, option) for option in options) else Misfit(plain.get(key, repr(value)))


def takes_text(options: Sequence[object]) -> bool:
    """Return whether a key of these types takes text and nothing else."""
    return bool(options) and all(_is_text(option) for option in options)


def _is_text(option: object) -> bool:
    return isinstance(option, type) and issubclass(option, str | PurePath) and not issubclass(option, Enum)


def _fits(value: object, option: object) -> bool:
    """Return whether a scalar fits the option. Only numbers and booleans are checked here; the schema checks the rest."""
    if get_origin(option) is Literal:
        return not isinstance(value, bool) or any(literal is value for literal in get_args(option))
    if option is bool:
        return isinstance(value, bool)
    if option in (int, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return True
