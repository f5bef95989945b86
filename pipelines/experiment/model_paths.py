"""Finds a base model that has a path: a folder on this machine, or a name on the hub."""

from __future__ import annotations

from pathlib import Path

from pipelines.experiment.errors import ConfigError

_PATH_STARTS = ("/", "./", "../", "~")
_CONFIG = "config.json"


def located(key: str, path: str) -> str:
    """Return the model folder's absolute path, or `path` as it is if it can only be a hub name.

    Actors may run in other folders than the driver, so a relative path would not work. Raises `ConfigError`, which names
    the setting `key`, if `path` is or must be a folder, but has no model.
    """
    folder = Path(path).expanduser()
    if folder.is_dir() and (folder / _CONFIG).exists():
        return str(folder.absolute())
    if not folder.is_dir() and not is_path(path):
        return path
    what = f"has no {_CONFIG}" if folder.is_dir() else "is no folder"
    raise ConfigError(
        [f"{key} = {path!r}: {folder.absolute()} {what}; give a model's folder, or a hub name such as Qwen/Qwen3-0.6B"]
    )


def is_path(path: str) -> bool:
    """Return whether `path` cannot be a name on the hub, which has at most one slash."""
    return path in (".", "..") or path.startswith(_PATH_STARTS) or path.count("/") > 1
