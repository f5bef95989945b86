"""Finds a base model that has a path: a folder on this machine, or a name on the hub."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from actors.model_folder import FolderProblem, check_model_folder, context_tokens
from cluster.errors import one_line
from pipelines.experiment.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.experiment.schema import Experiment

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_CONFIG = "config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"


def located(key: str, path: str, of_tokenizer: bool = False) -> str:
    """Return the absolute path of a model's folder, or a tokenizer's, or `path` as it is if it can only be a hub name.

    Actors may run in other folders than the driver, so a relative path would not work. Raises `ConfigError`, which names
    the setting `key`, if `path` is or must be a folder, but has no model, or one whose files are broken.
    """
    config, whose = (_TOKENIZER_CONFIG, "tokenizer") if of_tokenizer else (_CONFIG, "model")
    folder = Path(path).expanduser()
    try:
        there, has_model = folder.is_dir(), (folder / config).is_file()
        could_be_on_hub = is_hub_name(path) and not folder.is_file()
    except OSError as error:  # a name that is too long, or no permission
        raise ConfigError([f"{key} = {path[:100]!r}: cannot be looked up: {error.strerror}"]) from error
    if there and has_model:
        try:
            check_model_folder(folder.absolute(), of_tokenizer)
        except FolderProblem as error:
            raise ConfigError([one_line(f"{key} = {path!r}: {error}")]) from error
        return str(folder.absolute())
    if not there and could_be_on_hub:
        return path
    what = f"has no {config}" if there else "is no folder"
    raise ConfigError(
        [
            f"{key} = {path!r}: {folder.absolute()} {what}; give a {whose}'s folder, or a hub name such as Qwen/Qwen3-0.6B"
        ]
    )


def given_paths(experiment: Experiment) -> dict[str, str]:
    """Return the keys that name a model or a tokenizer by a folder or a hub name, and their values."""
    final = experiment.evaluation.teacher
    models = {
        "models.student.path": experiment.models.student.path,
        "models.teacher.path": experiment.models.teacher.path,
        "models.teacher.tokenizer": experiment.models.teacher.tokenizer,
        "evaluation.teacher.path": final.path if final else None,
        "evaluation.teacher.tokenizer": final.tokenizer if final else None,
    }
    return {key: path for key, path in models.items() if path is not None}


def check_given_paths(experiment: Experiment) -> None:
    """Raise `ConfigError`, with a line for each model or tokenizer of the experiment that is missing or broken here."""
    problems: list[str] = []
    teacher = "teacher.engine.max_model_len", experiment.teacher.engine.max_model_len
    student = "rollout.engine.max_model_len", experiment.rollout.engine.max_model_len
    engines = {"models.student.path": student, "models.teacher.path": teacher, "evaluation.teacher.path": teacher}
    for key, path in given_paths(experiment).items():
        try:
            located(key, path, key.endswith(".tokenizer"))
            if key in engines:
                check_context(path, *engines[key])
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def check_context(path: str, key: str, tokens: int) -> None:
    """Raise `ConfigError` if an engine is to hold more `tokens`, as the setting `key` says, than the model in the folder can.

    The engine would refuse it, but only after its start. Of a hub name nothing is known yet.
    """
    folder = Path(path).expanduser()
    most = context_tokens(folder) if (folder / _CONFIG).is_file() else None
    if most is not None and tokens > most:
        raise ConfigError([f"{key} ({tokens}) should be at most {most}, the context of the model in {path}"])


def hub_names(experiment: Experiment) -> list[tuple[str, str]]:
    """Return the keys and values of the models that can only be names on the hub. Raises `ConfigError` as `located` does."""
    return [
        (key, path)
        for key, path in given_paths(experiment).items()
        if located(key, path, key.endswith(".tokenizer")) == path and not Path(path).is_absolute()
    ]


def server_notes(experiment: Experiment) -> list[str]:
    """Return a line for each teacher that a server has, as a dry run shows it. Keys are not shown, only their variables."""
    teachers = {"models.teacher": experiment.models.teacher, "evaluation.teacher": experiment.evaluation.teacher}
    notes = []
    for key, teacher in teachers.items():
        server = teacher.endpoint if teacher is not None else None
        if server is None:
            continue
        notes.append(f"{key} = {server.model!r} at {server.base}: the server is asked when the run starts, and not now")
        if server.api_key_env is not None and not os.environ.get(server.api_key_env):
            notes.append(f"{key}.api_key_env = {server.api_key_env!r}: this variable is not set here")
    return notes


def is_hub_name(path: str) -> bool:
    """Return whether `path` has the form of a name on the hub, which has at most one slash."""
    return _HUB_NAME.fullmatch(path) is not None
