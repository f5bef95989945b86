"""The base class of all settings models, which are frozen, typed and refuse unknown keys; and types that several blocks use."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from cluster.store.urls import checked_url, is_url

_VARIABLE = re.compile(r"\$\{?\w")
MOST_BYTES_OF_A_NAME = 255
_LARGEST_INTEGER = 10**12
_LARGEST_NUMBER = 1e30
"""what is computed from several of these still fits a float"""


class Settings(BaseModel):
    """A block of an experiment YAML. Unknown keys, wrong types and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _of_a_size_that_can_be_meant(cls, value: object) -> object:
        """Refuse numbers with which arithmetic on settings would fail or never end. Most keys have a lower bound of their own."""
        for number in _numbers(value):
            largest = _LARGEST_INTEGER if isinstance(number, int) else _LARGEST_NUMBER
            if abs(number) > largest:
                raise ValueError(f"should be between {-largest:g} and {largest:g}")
        return value


def _numbers(value: object) -> Iterator[int | float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)


def _with_home(path: Path) -> Path:
    if is_url(str(path)):
        raise ValueError("should be a path, and is a URL: only run_dir may be one")
    return Path(name_with_home(str(path)))


def _text_of(place: object) -> object:
    """Return a path as text. Raises ValueError for a text that can name no place: `Path("")` would be the working directory."""
    text = str(place) if isinstance(place, Path) else place
    if isinstance(text, str):
        if not text:
            raise ValueError("should not be empty: give a path, or null where that is allowed")
        if "\0" in text:
            raise ValueError("should have no NUL character")
        if any(len(part.encode(errors="replace")) > MOST_BYTES_OF_A_NAME for part in text.split("/")):
            raise ValueError(
                f"should have no part of more than {MOST_BYTES_OF_A_NAME} bytes, the most that a file system takes"
            )
    return text


def _path_or_url(place: str) -> str:
    return checked_url(place) if is_url(place) else str(_with_home(Path(place)))


def name_with_home(name: str) -> str:
    """Return a path, or a name that may be a path, with a leading `~` replaced by the home folder.

    Raises ValueError if the name has a variable such as `$HOME`, or if the home folder is unknown.
    """
    if _VARIABLE.search(name):
        raise ValueError("variables are not expanded: write the path in full, or begin it with ~")
    if not name.startswith("~"):
        return name
    try:
        return str(Path(name).expanduser())
    except RuntimeError as error:
        raise ValueError(f"the home folder that {name.split('/')[0]!r} names is unknown") from error


Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""a seed that every random generator in use accepts, with room to add small numbers to it"""

ActorCount = Annotated[int, Field(ge=1, le=4096)]
"""how many actors of one kind a run has"""

Threads = Annotated[int, Field(ge=1, le=1024)]
"""how many threads or helper processes one actor has"""

Seconds = Annotated[float, Field(gt=0.0, le=1e6)]
"""a time limit; a million seconds are eleven days, and the kernel's timers end at twice that"""

HomePath = Annotated[Path, BeforeValidator(_text_of), AfterValidator(_with_home)]
"""a path in which a leading `~` means the home folder"""

PathOrUrl = Annotated[str, BeforeValidator(_text_of), AfterValidator(_path_or_url)]
"""a path as `HomePath`, or the URL of a folder in an object store"""
