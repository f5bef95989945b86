"""Turns what a user names into a server's settings: the folder of a finished run, or a server's file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.serving.guards.addresses import check_bind
from actors.serving.guards.budgets import ledger_path
from actors.serving.settings import Memory, ServerSettings
from actors.serving.student_folder import student_folder
from cluster.errors import RunError
from pipelines.experiment import yaml_values
from pipelines.experiment.loading import load
from pipelines.experiment.model_paths import check_context, located
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_names import FILTER
from pipelines.models.base_models import finished_base_models

_EXPERIMENT = "experiment.yaml"
_SERVERS = Path("runs/servers")
"""what servers of a file keep, by the server's name"""
_MOST_EXAMPLES = 6
_CALL_TIMEOUT_S = 30.0
"""someone waits for the answer, so a call gets no more time than this"""


class ServeTargetError(RunError):
    """There is nothing to serve; the message says why."""


def server_settings(target: Path, overrides: Sequence[str] = ()) -> ServerSettings:
    """Return the settings of a server, with `key.sub=value` overrides and absolute paths.

    Raises `ServeTargetError` if the target is a run without a trained student, `ConfigError` if settings are wrong, and
    `BindError` if others could reach the server and it has no API keys.
    """
    if target.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"server-of-{target.name}.yaml"
            file.write_text(yaml_values.written(_of_run(target)), encoding="utf-8")
            settings = _located(load(file, overrides, ServerSettings), target)
    else:
        settings = load(target, overrides, ServerSettings)
        settings = _located(settings, _SERVERS / settings.name)
    check_bind(settings.http.host, settings.guards)
    return settings


def _of_run(run: Path) -> dict[str, Any]:
    """Return the settings of a server for the final student of a run, as its experiment has them."""
    if not (run / _EXPERIMENT).is_file():
        raise ServeTargetError(
            f"{run} is no run: it has no {_EXPERIMENT}. Give the folder of a run, or a server's file"
        )
    experiment = load(run / _EXPERIMENT, [], Experiment)
    models = finished_base_models(experiment)
    if models is None:
        raise ServeTargetError(
            f"{run}: the run's base models are gone from {experiment.models.cache_dir}; run it again"
        )
    student = _student_of(run, experiment) or models.student
    return settings_of(experiment, student, models.teacher) | {"examples": _examples(run)}


def settings_of(experiment: Experiment, student: str, teacher: str) -> dict[str, Any]:
    """Return the settings of a server for a student of the experiment.

    It has the teacher of the training, and the limits and sampling of the final evaluation.

    `teacher` is the folder or hub name of the teacher. It does not count for a teacher behind a url.
    """
    limits = experiment.evaluation.limits
    timeout_s = min(limits.teacher_timeout_s, _CALL_TIMEOUT_S)
    sampling = experiment.evaluation.sampling.model_dump(mode="json")
    served = experiment.models.teacher.endpoint
    single = experiment.models.student.pretrain is not None
    return {
        "name": experiment.name,
        "student": {"path": student, "engine": experiment.rollout.engine.model_dump(mode="json")},
        "teacher": ({"path": teacher} if served is None else served.model_dump(mode="json"))
        | {"engine": experiment.teacher.engine.model_dump(mode="json")},
        "prompt_suffix": experiment.data.prompt_suffix,
        # A tiny model that was pretrained on single problems knows nothing else; others can talk.
        "memory": Memory.QUESTION.value if single else Memory.CONVERSATION.value,
        "limits": limits.model_copy(update={"teacher_timeout_s": timeout_s}).model_dump(mode="json"),
        "sampling": {"student": sampling, "teacher": sampling},
        "device": experiment.cluster.device.value,
        "engine_threads": experiment.cluster.engine_threads,
        "cpus_per_replica": experiment.cluster.cpus_per_actor,
    }


def _student_of(run: Path, experiment: Experiment) -> str | None:
    """Return the folder of the student that the run ends with; None if the run does not train one."""
    if not experiment.trains:
        return None
    stage = "grpo" if experiment.grpo.enabled else "warmup"
    folder = run / "stages" / stage / "model"
    if not folder.is_dir():
        raise ServeTargetError(f"{run} has no trained student yet ({folder} is missing): finish it with relayllm run")
    return str(student_folder(folder))


def _examples(run: Path) -> list[str]:
    """Return the first problems of each kind that the run trained on."""
    file = run / "stages" / FILTER / "problems.jsonl"
    if not file.is_file():
        return []
    by_kind: dict[str, list[str]] = {}
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            problem = json.loads(line)
            by_kind.setdefault(problem.get("kind", ""), []).append(problem["question"])
    each = max(_MOST_EXAMPLES // max(len(by_kind), 1), 1)
    return [question for questions in by_kind.values() for question in questions[:each]][:_MOST_EXAMPLES]


def _located(settings: ServerSettings, folder: Path) -> ServerSettings:
    """Return the settings with absolute paths, since replicas may run in other folders. The ledger is in `folder` by default."""
    engine = settings.student.engine
    own = located("student.path", settings.student.path)
    check_context(own, "student.engine.max_model_len", engine.max_model_len)
    student = settings.student.model_copy(update={"path": own})
    teacher = settings.teacher
    if teacher is not None:
        path, tokenizer, cache = teacher.path, teacher.tokenizer, teacher.cache
        changes = {
            "path": path and located("teacher.path", path),
            "tokenizer": tokenizer and located("teacher.tokenizer", tokenizer, of_tokenizer=True),
            "cache": cache and cache.absolute(),
        }
        if isinstance(changes["path"], str):
            check_context(changes["path"], "teacher.engine.max_model_len", teacher.engine.max_model_len)
        teacher = teacher.model_copy(update=changes)
    guards = settings.guards
    guards = guards.model_copy(update={"ledger": ledger_path(guards, folder).absolute()})
    return settings.model_copy(update={"student": student, "teacher": teacher, "guards": guards})
