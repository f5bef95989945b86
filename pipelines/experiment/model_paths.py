"""Finds a base model that has a path: a folder on this machine, or a name on the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.experiment.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.experiment.schema import Experiment

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_CONFIG = "config.json"


def located(key: str, path: str) -> str:
    """Return the model folder's absolute path, or `path` as it is if it can only be a hub name.

    Actors may run in other folders than the driver, so a relative path would not work. Raises `ConfigError`, which names
    the setting `key`, if `path` is or must be a folder, but has no model.
    """
    folder = Path(path).expanduser()
    try:
        there, has_model = folder.is_dir(), (folder / _CONFIG).is_file()
        could_be_on_hub = _HUB_NAME.fullmatch(path) is not None and not folder.is_file()
    except OSError as error:  # a name that is too long, or no permission
        raise ConfigError([f"{key} = {path[:100]!r}: cannot be looked up: {error.strerror}"]) from error
    if there and has_model:
        return str(folder.absolute())
    if not there and could_be_on_hub:
        return path
    what = f"has no {_CONFIG}" if there else "is no folder"
    raise ConfigError(
        [f"{key} = {path!r}: {folder.absolute()} {what}; give a model's folder, or a hub name such as Qwen/Qwen3-0.6B"]
    )


def hub_names(experiment: Experiment) -> list[tuple[str, str]]:
    """Return the keys and values of the models that can only be names on the hub. Raises `ConfigError` as `located` does."""
    models = {
        "models.student.path": experiment.models.student.path,
        "models.teacher.path": experiment.models.teacher.path,
        "evaluation.teacher.path": experiment.evaluation.teacher.path if experiment.evaluation.teacher else None,
    }
    given = {key: path for key, path in models.items() if path is not None}
    return [(key, path) for key, path in given.items() if located(key, path) == path and not Path(path).is_absolute()]
