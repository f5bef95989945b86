"""What a value of a file or an override means under its key: text keys take text as it is written, numbers are numbers."""

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
    """A value of another type than its key's, which no schema takes: pydantic would make a number of `true` or `'7'`."""

    written: str

    def __repr__(self) -> str:
        return self.written


def as_meant(value: object, options: Sequence[object], plain: Mapping[KeyPath, str], key: KeyPath = ()) -> object:
    """Return `value` as its keys mean it, which take the types `options`.

    `plain` are the numbers and booleans that stand without quotes, as they are written: a text key takes that text.
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
    """Whether a key of these types takes text, and nothing else."""
    return bool(options) and all(_is_text(option) for option in options)


def _is_text(option: object) -> bool:
    return isinstance(option, type) and issubclass(option, str | PurePath) and not issubclass(option, Enum)


def _fits(value: object, option: object) -> bool:
    """Whether a scalar may stand for the option; what is no number or boolean is left to the schema."""
    if get_origin(option) is Literal:
        return not isinstance(value, bool) or any(literal is value for literal in get_args(option))
    if option is bool:
        return isinstance(value, bool)
    if option in (int, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return True
