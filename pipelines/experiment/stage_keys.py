"""A key for each stage, made from all that its result depends on. Stages with equal keys may share the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from actors.rollout import Policy
from actors.settings import RUNNING_OF_LEARNER, EngineSettings, RelayLimits
from cluster.settings import Settings
from pipelines.data.chain_arithmetic.knowledge import Role
from pipelines.data.settings import SourceSettings
from pipelines.experiment.models import ModelSettings, PretrainSettings, TeacherModelSettings
from pipelines.experiment.resume import MAY_CHANGE_ON_RESUME
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_names import (
    BASE,
    CITER,
    FILTER,
    FINAL,
    GRPO,
    WARMUP,
    citer_policy,
    evaluated_steps,
    evaluation_stage,
    evaluation_within_grpo,
)
from pipelines.experiment.stages import GrpoSettings

PRETRAIN_RECIPE = 1
RECIPES = {FILTER: 4, CITER: 4, WARMUP: 4, GRPO: 6, "evaluate": 5}
"""raise one when a stage's code changes its result in a way that the settings do not show"""

WITHOUT_EFFECT = (
    *MAY_CHANGE_ON_RESUME,
    "name",
    "share_dir",
    *(f"{model}.pretrain.shipped" for model in ("models.student", "models.teacher", "evaluation.teacher")),
)
"""settings that no result depends on; every other setting is in a stage's key, or decides which stages there are"""

_LATER = ("async_depth", "extra_prompts", "max_staleness", "epochs")
"""newer settings of GRPO: a key leaves them out if they have their defaults, so that older results are still found"""

Content = object
"""any value that can be written as JSON"""


def pretrained_key(role: Role, settings: PretrainSettings) -> str:
    """Return the key of a model that is pretrained for a role."""
    return _key([PRETRAIN_RECIPE, role, settings.model_dump(mode="json", exclude_none=True, exclude={"shipped"})])


def stage_keys(experiment: Experiment) -> dict[str, str]:
    """Return the key of each of the run's stages, by its name and in the order in which they are done."""
    return _Keys(experiment).by_stage


def shared_folders(experiment: Experiment) -> dict[str, Path]:
    """Return the folder where runs share each stage's result, by stage; empty if the experiment does not share any."""
    if experiment.share_dir is None:
        return {}
    folder = experiment.share_dir.resolve()
    return {stage: folder / f"{stage}-{key[:16]}" for stage, key in stage_keys(experiment).items()}


class _Keys:
    """The keys of one experiment, stage by stage."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._student = _student(experiment)
        self._suffix = experiment.data.prompt_suffix
        self.by_stage: dict[str, str] = {}
        self._training_problems = self._problems(experiment.data.train, experiment.grpo.limits, [_teacher(experiment)])
        self._evaluations(BASE, experiment.evaluation.base, 0, self._student)
        if experiment.filters:
            self._training_problems = self._filter()
        if experiment.citer.enabled:
            self._citer()
        warm: Content = self._warmup() if experiment.warmup.enabled else self._student
        self._evaluations(WARMUP, experiment.evaluated_after_warmup(), 0, warm)
        trained: Content = self._grpo(warm) if experiment.grpo.enabled else warm
        self._evaluations(FINAL, experiment.evaluation.final, experiment.grpo_steps, trained, self._final())

    def _add(self, stage: str, recipe: str, builds_on: Sequence[Content], settings: Mapping[str, Content]) -> str:
        seed, suffix = self._experiment.seed, self._suffix
        key = self.by_stage[stage] = _key([stage, RECIPES[recipe], seed, suffix, list(builds_on), dict(settings)])
        return key

    def _final(self) -> Experiment:
        return self._experiment.with_final_teacher()

    def _filter(self) -> str:
        experiment = self._experiment
        return self._add(
            FILTER,
            FILTER,
            [_teacher(experiment), self._training_problems],
            {
                "filter": _dump(experiment.filter),
                "max_new_tokens": experiment.grpo.limits.max_new_tokens,
                "grading": _grading(experiment),
            },
        )

    def _citer(self) -> None:
        experiment, settings = self._experiment, self._experiment.citer
        router = self._add(
            CITER,
            CITER,
            [self._student, _teacher(experiment), self._training_problems],
            {
                "citer": _dump(settings, leave_out={"thresholds", "max_sequences"}),
                "limits": _dump(experiment.grpo.limits),
                "on_call": _dump(experiment.teacher.sampling),
                "grading": _grading(experiment),
            },
        )
        for threshold in settings.thresholds:
            self._add(
                evaluation_stage(CITER, citer_policy(threshold)),
                "evaluate",
                [router],
                {
                    **self._questions(experiment),
                    "threshold": threshold,
                    "limits": _dump(experiment.evaluation.limits),
                    "on_call": _dump(experiment.teacher.sampling),
                },
            )

    def _warmup(self) -> str:
        experiment = self._experiment
        limits, teachers = experiment.grpo.limits, [_teacher(experiment)]
        sources = [self._problems(source, limits, teachers) for source in experiment.data.warmup]
        return self._add(
            WARMUP,
            WARMUP,
            [self._student, sources or self._training_problems],
            {
                "warmup": _dump(experiment.warmup),
                "max_new_tokens": experiment.grpo.limits.max_new_tokens,
                "dtype": experiment.learner.dtype,
            },
        )

    def _grpo(self, warm: Content) -> str:
        experiment = self._experiment
        trained = self._add(
            GRPO,
            GRPO,
            [warm, _teacher(experiment), self._training_problems],
            {
                "grpo": _training(experiment.grpo),
                "reward": experiment.reward.model_dump(mode="json"),
                "on_call": _dump(experiment.teacher.sampling),
                # Another run may resume from a checkpoint, so all that its numbers depend on is in the key.
                "learner": _dump(experiment.learner, RUNNING_OF_LEARNER),
                "grading": _grading(experiment),
            },
        )
        part = {"problems_during_training": experiment.evaluation.problems_during_training}
        for step in evaluated_steps(experiment):
            student = [trained, step]
            name = evaluation_within_grpo(step)
            self._evaluations(name, experiment.evaluation.training, step, student, settings=part)
        return trained

    def _evaluations(
        self,
        name: str,
        policies: Sequence[Policy],
        step: int,
        student: Content,
        experiment: Experiment | None = None,
        settings: Mapping[str, Content] = {},
    ) -> None:
        """Add an evaluation of some policies; only what a policy uses is in its key."""
        experiment = experiment or self._experiment
        for policy in policies:
            limits = experiment.evaluation.limits
            uses: dict[str, Content] = {"max_new_tokens": limits.max_new_tokens}
            if policy in (Policy.RELAY, Policy.RANDOM_PLACEMENT):
                uses = {"limits": _dump(limits), "on_call": _dump(experiment.teacher.sampling)}
            # Both base models are always in the key: results are compared with the best possible policy of the pair.
            builds_on = [self._student, _teacher(experiment)]
            if policy is not Policy.TEACHER:
                builds_on.append(student)
            if policy is Policy.RANDOM_PLACEMENT:
                builds_on.append(self.by_stage[evaluation_stage(name, Policy.RELAY)])
            self._add(
                evaluation_stage(name, policy),
                "evaluate",
                builds_on,
                {**self._questions(experiment), **uses, **settings, "step": step},
            )

    def _questions(self, experiment: Experiment) -> dict[str, Content]:
        # All evaluations of a run have the same problems, so prompts have to suit both teachers.
        teachers = [_teacher(self._experiment), _teacher(self._final())]
        limits = experiment.evaluation.limits
        return {
            "problems": [self._problems(source, limits, teachers) for source in experiment.data.evaluation],
            "sampling": _dump(experiment.evaluation.sampling),
            "grading": _grading(experiment),
        }

    def _problems(self, source: SourceSettings, limits: RelayLimits, teachers: Sequence[Content]) -> Content:
        """Return what decides which problems a source has. If bad rows are skipped, the room for prompts decides too."""
        if source.bad_rows == "stop":
            return _dump(source)
        return [_dump(source), self._student, list(teachers), limits.max_new_tokens]


def _model(role: Role, settings: ModelSettings) -> Content:
    return settings.path if settings.pretrain is None else pretrained_key(role, settings.pretrain)


def teacher_model(settings: TeacherModelSettings) -> Content:
    """Return what tells teachers apart: path, pretraining, or server and model with how they are asked."""
    server = settings.endpoint
    if server is None:
        return _model("teacher", settings)
    return [server.base, server.model, server.tokenizer, server.mode]


def _student(experiment: Experiment) -> Content:
    return [_model("student", experiment.models.student), *_engine(experiment.rollout.engine)]


def _teacher(experiment: Experiment) -> Content:
    model, engine = teacher_model(experiment.models.teacher), experiment.teacher.engine
    return [model, engine.max_model_len] if experiment.models.teacher.endpoint else [model, *_engine(engine)]


def _engine(settings: EngineSettings) -> Sequence[Content]:
    return settings.dtype, settings.max_model_len


def _training(settings: GrpoSettings) -> Content:
    """Return the settings that GRPO's result depends on."""
    off = {name for name in _LATER if getattr(settings, name) == GrpoSettings.model_fields[name].default}
    of_running = {
        "checkpoint_every",
        "keep_checkpoints",
        "evaluate_every",
        "teacher_outage_s",
        "on_alarm",
        "most_roll_backs",
    }
    left_out = {"loss"} | of_running | off
    loss = _dump(settings.loss, {"tis_cap"} if settings.loss.tis_cap is None else ())
    return {**_dump(settings, left_out), "loss": loss}


def _grading(experiment: Experiment) -> Content:
    """Return what decides whether an answer is right. `reward.cut_off` is part of it, for evaluations and filters too."""
    cut_off_is_graded = experiment.reward.cut_off == "graded"
    return {**_dump(experiment.grading, {"workers", "start_timeout_s"}), "cut_off_is_graded": cut_off_is_graded}


def _dump(settings: Settings, leave_out: Collection[str] = ()) -> dict[str, Content]:
    return settings.model_dump(mode="json", exclude=set(leave_out) | {"enabled"})


def _key(content: Content) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
