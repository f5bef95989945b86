"""The base class of all settings models, which are frozen, typed and refuse unknown keys; and the types of paths and seeds."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_VARIABLE = re.compile(r"\$\{?\w")


class Settings(BaseModel):
    """A block of an experiment YAML. Unknown keys, wrong types and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def _with_home(path: Path) -> Path:
    return Path(name_with_home(str(path)))


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

HomePath = Annotated[Path, AfterValidator(_with_home)]
"""a path in which a leading `~` means the home folder"""
