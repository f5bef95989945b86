"""The base of every settings model: frozen, typed, and closed to unknown keys; and the types of paths and seeds."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_VARIABLE = re.compile(r"\$\{?\w")


class Settings(BaseModel):
    """A block of an experiment YAML; unknown keys, wrong types and numbers that are not finite are errors, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def _with_home(path: Path) -> Path:
    return Path(name_with_home(str(path)))


def name_with_home(name: str) -> str:
    """Return a path, or a name that may be one, with `~` as the home folder. Raises ValueError if that is unknown."""
    if _VARIABLE.search(name):
        raise ValueError("variables are not expanded: write the path in full, or begin it with ~")
    if not name.startswith("~"):
        return name
    try:
        return str(Path(name).expanduser())
    except RuntimeError as error:
        raise ValueError(f"the home folder that {name.split('/')[0]!r} names is unknown") from error


Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""what every random generator of the stack takes, and room to count on from it"""

HomePath = Annotated[Path, AfterValidator(_with_home)]
"""a path in which `~` is the home folder"""
