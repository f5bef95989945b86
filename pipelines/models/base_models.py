"""The base models, each a folder: given, shipped, or pretrained on chain arithmetic and cached in `models.cache_dir`."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from actors.engines.teachers import ServedTeacher
from actors.learner.batches import TokenSequences
from actors.learner.group import LearnerGroup
from actors.settings import LearnerSettings
from actors.tiny_models import write_config, write_tokenizer
from cluster.devices import Device, learner_environment
from cluster.files import directory_commit, make_directory
from pipelines.data.chain_arithmetic import task
from pipelines.data.chain_arithmetic.knowledge import Role, knowledge_of, learned_solution
from pipelines.experiment.model_paths import located
from pipelines.experiment.models import ModelSettings, ModelsSettings, PretrainSettings, TeacherModelSettings
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import pretrained_key
from pipelines.models.shipped import shipped_model
from pipelines.records.tracking import Tracker
from pipelines.terminal.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LoadTokenizer = Callable[[Path], "PreTrainedTokenizerBase"]

FINAL_TEACHER = "final-teacher"
_STEPS_PER_CALL = 25


class PretrainingStoppedError(RuntimeError):
    """A model was not finished because the run ends."""


@dataclass(frozen=True, slots=True)
class BaseModels:
    """The folders of the base models, or their names on the hub. For a teacher behind HTTP, they have only its tokenizer."""

    student: str
    teacher: str
    final_teacher: str
    """the teacher of the final evaluation"""
    served: ServedTeacher | None = None
    """the teacher behind HTTP, if it is there; set once its server has been asked"""
    final_served: ServedTeacher | None = None

    @property
    def changes_teacher(self) -> bool:
        """Whether the final evaluation has another teacher."""
        return (self.teacher, self.served) != (self.final_teacher, self.final_served)

    def with_final_teacher(self) -> BaseModels:
        """Return the models as the final evaluation sees them."""
        return replace(self, teacher=self.final_teacher, served=self.final_served)


def cached_path(role: Role, settings: ModelSettings, models: ModelsSettings) -> Path | None:
    """Return where a pretrained model is cached, even if it is not there yet; None for a model with a path."""
    if settings.pretrain is None:
        return None
    return models.cache_dir.resolve() / pretrained_name(role, settings.pretrain)


def pretrained_name(role: Role, settings: PretrainSettings) -> str:
    """Return the name of the folder of a model that is pretrained for a role. Equal settings give equal names."""
    return f"chain-arithmetic-{role}-{pretrained_key(role, settings)[:16]}"


def ready_model(role: Role, settings: ModelSettings, models: ModelsSettings) -> str | None:
    """Return where a given, shipped or cached model is; None if the model has to be pretrained.

    A shipped model is preferred to a cached one, so that runs of one experiment have the same base models on all machines.
    """
    if settings.pretrain is None:
        return settings.path
    if settings.pretrain.shipped and (shipped := shipped_model(pretrained_name(role, settings.pretrain))):
        return str(shipped)
    folder = cached_path(role, settings, models)
    return str(folder / "model") if folder is not None and (folder / "model").exists() else None


def pretraining_rows(
    role: Role, settings: PretrainSettings, tokenizer: PreTrainedTokenizerBase, first: int, last: int
) -> TokenSequences:
    """Return the rows of steps `first` to `last` - 1, in order, with `problems_per_step` rows for each step.

    Kinds of problem have the shares of `mix`, and forms the shares of `forms`. No problem is from the evaluation split.
    The loss is on the solution.
    """
    knowledge = knowledge_of(role, settings.skill)
    random = Random(f"{settings.seed}/{role}/{first}")
    lengths = settings.lengths or task.LENGTHS
    kinds, kind_shares = zip(*sorted(settings.mix.items()), strict=True)  # sorted, so that the order has no effect
    forms, form_shares = zip(*sorted((settings.forms or {task.Form.PLAIN: 1}).items()), strict=True)
    sources = [task.chains(kind, task.Split.TRAIN, random.randrange(2**32), lengths) for kind in kinds]
    count = (last - first) * settings.problems_per_step
    plain = [next(source) for source in random.choices(sources, kind_shares, k=count)]
    drawn_forms = Random(f"{settings.seed}/{role}/{first}/forms").choices(forms, form_shares, k=count)
    drawn = [replace(chain, form=form) for chain, form in zip(plain, drawn_forms, strict=True)]
    template = tokenizer.apply_chat_template(
        [{"role": "user", "content": "QUESTION"}], add_generation_prompt=True, tokenize=False
    )
    prompts = tokenizer([template.replace("QUESTION", chain.question) for chain in drawn], add_special_tokens=False)[
        "input_ids"
    ]
    solutions = tokenizer(
        [learned_solution(chain, knowledge, random) + tokenizer.eos_token for chain in drawn], add_special_tokens=False
    )["input_ids"]
    if settings.markup:
        _insert_markup(solutions, settings.markup, tokenizer, Random(f"{settings.seed}/{role}/{first}/markup"))
    return TokenSequences.of_prompts_and_targets(prompts, solutions)


def _insert_markup(
    solutions: list[list[int]], share: float, tokenizer: PreTrainedTokenizerBase, random: Random
) -> None:
    """Put one or two tags into a share of the solutions, each at any place before the end of text."""
    for solution in solutions:
        if random.random() < share:
            for _ in range(random.randint(1, 2)):
                name, content = random.randrange(10), random.randrange(10)
                tag = random.choice((f"<{name}>", f"</{name}>", f"<{name}>{content}</{name}>"))
                place = random.randrange(len(solution))
                solution[place:place] = tokenizer(tag, add_special_tokens=False)["input_ids"]


def finished_base_models(experiment: Experiment) -> BaseModels | None:
    """Return the base models if all are given, shipped or cached, else None. Raises `ConfigError` if a given one is missing."""
    ready = {
        name: _given(name, settings) if settings.pretrain is None else ready_model(role, settings, experiment.models)
        for name, (role, settings) in _wanted(experiment).items()
    }
    return _base_models({name: folder for name, folder in ready.items() if folder is not None}, experiment)


def _base_models(folders: Mapping[str, str], experiment: Experiment) -> BaseModels | None:
    """Return the models in their folders, by name; None if one is missing.

    A teacher behind HTTP is represented by its tokenizer, or else by the student's.
    """
    if folders.keys() < _wanted(experiment).keys():
        return None
    student = folders["student"]

    def teacher(name: str, key: str, settings: TeacherModelSettings) -> str:
        if settings.endpoint is None:
            return folders[name]
        return located(f"{key}.tokenizer", settings.tokenizer, of_tokenizer=True) if settings.tokenizer else student

    first = teacher("teacher", "models.teacher", experiment.models.teacher)
    final = experiment.with_final_teacher().models.teacher
    if final == experiment.models.teacher:
        return BaseModels(student, first, first)
    return BaseModels(student, first, teacher(FINAL_TEACHER, "evaluation.teacher", final))


def prepare_base_models(experiment: Experiment, tracker: Tracker) -> BaseModels:
    """Return the base models. Models that are not given, shipped or cached are pretrained, all at the same time."""
    from transformers import AutoTokenizer  # not in the threads: two imports at once would see it half loaded

    load = partial(AutoTokenizer.from_pretrained, trust_remote_code=False)
    models = _wanted(experiment)
    stopped = Event()
    with ThreadPoolExecutor(max_workers=len(models)) as threads:
        try:
            prepared = [
                threads.submit(_prepare, name, *model, experiment, tracker, load, stopped)
                for name, model in models.items()
            ]
            folders = dict(zip(models, (model.result() for model in prepared), strict=True))
        except BaseException:  # a model failed, or Ctrl-C: without this, the other models would first be finished
            stopped.set()
            raise
    found = _base_models(folders, experiment)
    assert found is not None
    return found


def _wanted(experiment: Experiment) -> dict[str, tuple[Role, ModelSettings]]:
    """Return the models by name: the student, the teacher, and the final evaluation's teacher if it is another one.

    Teachers behind HTTP are left out.
    """
    models: dict[str, tuple[Role, ModelSettings]] = {"student": ("student", experiment.models.student)}
    if experiment.models.teacher.endpoint is None:
        models["teacher"] = ("teacher", experiment.models.teacher)
    final_teacher = experiment.with_final_teacher().models.teacher
    if final_teacher != experiment.models.teacher and final_teacher.endpoint is None:
        models[FINAL_TEACHER] = ("teacher", final_teacher)
    return models


def _given(name: str, settings: ModelSettings) -> str:
    assert settings.path is not None
    return located("evaluation.teacher.path" if name == FINAL_TEACHER else f"models.{name}.path", settings.path)


def _prepare(
    name: str,
    role: Role,
    settings: ModelSettings,
    experiment: Experiment,
    tracker: Tracker,
    load_tokenizer: LoadTokenizer,
    stopped: Event,
) -> str:
    if settings.pretrain is None:
        return _given(name, settings)
    if (ready := ready_model(role, settings, experiment.models)) is not None:
        return ready
    folder = cached_path(role, settings, experiment.models)
    assert folder is not None and settings.pretrain is not None
    make_directory(folder)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs that need the same model: one builds it, the other waits
        if not (folder / "model").exists():
            with directory_commit(folder / "model") as partial:
                _pretrain(name, role, settings.pretrain, partial, experiment, tracker, load_tokenizer, stopped)
    return str(folder / "model")


def _pretrain(
    name: str,
    role: Role,
    settings: PretrainSettings,
    folder: Path,
    experiment: Experiment,
    tracker: Tracker,
    load_tokenizer: LoadTokenizer,
    stopped: Event,
) -> None:
    import ray

    from actors.learner.model import ModelSpec

    write_tokenizer(folder, settings.command_tokens)
    write_config(folder, settings.architecture)
    tokenizer = load_tokenizer(folder)
    learner = LearnerGroup(
        LearnerSettings(zero_stage=0, dtype="float32"),
        Device.CPU,
        f"{experiment.namespace}-pretrain-{name}",
        learner_environment(Device.CPU, threads=1),
        cpus_per_rank=experiment.cluster.cpus_per_actor,
    )
    rows = np.arange(settings.problems_per_step)
    try:
        learner.wait(experiment.cluster.start_timeout_s)
        learner.load(ModelSpec(str(folder), initialise=True), settings.optimizer, settings.steps, seed=settings.seed)
        with Progress(settings.steps, f"pretrain {name}") as progress:
            for first in range(0, settings.steps, _STEPS_PER_CALL):
                if stopped.is_set():
                    raise PretrainingStoppedError(f"pretraining of the {name} was stopped at step {first}")
                last = min(first + _STEPS_PER_CALL, settings.steps)
                batch = ray.put(pretraining_rows(role, settings, tokenizer, first, last))
                taken = learner.sft_steps(batch, [rows + i * settings.problems_per_step for i in range(last - first)])
                tracker.log(f"pretrain-{name}", last, {"learner/loss": taken[-1].loss})
                progress.update(last - first, loss=taken[-1].loss)
        learner.export_into(folder)
    finally:
        learner.shutdown()
