"""Pretraining data of the base models, and where they are cached."""

import itertools
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from actors.learner.batches import TokenSequences
from actors.tiny_models import END, write_tokenizer
from pipelines.data.chain_arithmetic.knowledge import Knowledge, Role
from pipelines.data.chain_arithmetic.task import MULTIPLIERS, Chain, Form, Kind, Split, Step, chain_of
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.model_paths import located
from pipelines.experiment.models import ModelsSettings, PretrainSettings, TeacherModelSettings
from pipelines.experiment.schema import Experiment
from pipelines.models import base_models
from pipelines.models.base_models import (
    cached_path,
    finished_base_models,
    prepare_base_models,
    pretraining_rows,
)
from tests.model_folder import model_folder

PROMPT, ANSWER = "<|user|>", f"{END}<|assistant|>"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, "text")
    return AutoTokenizer.from_pretrained(folder)


def texts(rows: TokenSequences, tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, str]]:
    """Each row's text outside and inside the loss."""
    found = []
    for start, end in itertools.pairwise(rows.offsets):
        ids, mask = rows.token_ids[start:end], rows.loss_mask[start:end]
        found.append((tokenizer.decode(ids[~mask]), tokenizer.decode(ids[mask])))
    return found


def problems(rows: TokenSequences, tokenizer: PreTrainedTokenizerBase) -> list[Chain]:
    return [chain_of(prompt.removeprefix(PROMPT).removesuffix(ANSWER)) for prompt, _ in texts(rows, tokenizer)]


def test_the_loss_is_on_the_solution_and_its_end(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = pretraining_rows("teacher", PretrainSettings(problems_per_step=8), tokenizer, 0, 2)
    assert len(rows) == 16
    for prompt, solution in texts(rows, tokenizer):
        question = prompt.removeprefix(PROMPT).removesuffix(ANSWER)
        assert prompt == PROMPT + question + ANSWER
        assert solution.startswith(question[:5] + "=")
        assert solution.endswith("}" + END)


def test_no_row_is_from_the_evaluation_split(tokenizer: PreTrainedTokenizerBase) -> None:
    settings = PretrainSettings(mix=dict.fromkeys(Kind, 1), forms=dict.fromkeys(Form, 1), lengths=(1, 4))
    seen = problems(pretraining_rows("student", settings, tokenizer, 0, 10), tokenizer)
    assert {chain.kind for chain in seen} == set(Kind)
    assert {chain.split for chain in seen} == {Split.TRAIN}


def test_kinds_come_in_the_shares_of_the_mix(tokenizer: PreTrainedTokenizerBase) -> None:
    settings = PretrainSettings(mix={Kind.KNOWN: 3, Kind.TEACHER_KNOWN: 1, Kind.UNKNOWABLE: 0})
    rows = pretraining_rows("student", settings, tokenizer, 0, 32)
    found = Counter(chain.kind for chain in problems(rows, tokenizer))
    assert found[Kind.UNKNOWABLE] == 0
    assert found[Kind.KNOWN] / found.total() == pytest.approx(0.75, abs=0.04)  # four standard deviations


def test_problems_are_plain_and_of_two_or_three_operations_unless_settings_say_more(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    def found(settings: PretrainSettings) -> tuple[Counter[Form], set[int]]:
        chains = problems(pretraining_rows("student", settings, tokenizer, 0, 32), tokenizer)
        return Counter(chain.form for chain in chains), {len(chain.steps) for chain in chains}

    forms, lengths = found(PretrainSettings())
    assert (forms.keys(), lengths) == ({Form.PLAIN}, {2, 3})
    forms, lengths = found(PretrainSettings(forms={Form.PLAIN: 3, Form.POSTFIX: 1}, lengths=(4, 6)))
    assert lengths == {4, 6}
    assert forms[Form.POSTFIX] / forms.total() == pytest.approx(0.25, abs=0.04)  # four standard deviations


def test_forms_do_not_change_which_problems_are_learned(tokenizer: PreTrainedTokenizerBase) -> None:
    plain, postfix = (
        problems(pretraining_rows("teacher", PretrainSettings(forms={form: 1}), tokenizer, 0, 1), tokenizer)
        for form in (Form.PLAIN, Form.POSTFIX)
    )
    assert [chain.steps for chain in plain] == [chain.steps for chain in postfix]


def test_the_order_in_which_shares_are_written_does_not_matter(tokenizer: PreTrainedTokenizerBase) -> None:
    mix, forms = dict.fromkeys(Kind, 1), {Form.PLAIN: 2, Form.POSTFIX: 1}
    settings = PretrainSettings(mix=mix, forms=forms)
    turned = PretrainSettings(mix=dict(reversed(mix.items())), forms=dict(reversed(forms.items())))
    rows = [pretraining_rows("student", each, tokenizer, 0, 1).token_ids.tolist() for each in (settings, turned)]
    assert rows[0] == rows[1]


def test_markup_stands_in_its_share_of_the_solutions_and_changes_nothing_else(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    plain, marked = (
        texts(pretraining_rows("student", PretrainSettings(markup=markup), tokenizer, 0, 4), tokenizer)
        for markup in (None, 0.3)
    )

    for (prompt, without), (same_prompt, solution) in zip(plain, marked, strict=True):
        characters = iter(solution)
        assert prompt == same_prompt and all(character in characters for character in without)  # in this order
        assert solution.endswith(END)
    assert not any("<" in solution.removesuffix(END) for _, solution in plain)
    share = sum("<" in solution.removesuffix(END) for _, solution in marked) / len(marked)
    assert 0.2 < share < 0.4


def test_equal_seeds_give_equal_rows_and_later_steps_others(tokenizer: PreTrainedTokenizerBase) -> None:
    def rows(seed: int, first: int) -> list[int]:
        made = pretraining_rows("student", PretrainSettings(seed=seed), tokenizer, first, first + 1)
        return made.token_ids.tolist()

    assert rows(seed=1, first=0) == rows(seed=1, first=0)
    assert rows(seed=1, first=0) != rows(seed=2, first=0)
    assert rows(seed=1, first=0) != rows(seed=1, first=1)


@pytest.mark.parametrize(
    ("role", "skill", "taught"),
    [("student", None, 0.0), ("teacher", None, 1.0), ("teacher", 0.7, 0.7), ("student", 0.2, 0.2)],
)
def test_models_are_taught_the_products_of_their_role_or_skill(
    tokenizer: PreTrainedTokenizerBase, role: Role, skill: float | None, taught: float
) -> None:
    settings = PretrainSettings(mix={Kind.TEACHER_KNOWN: 1}, skill=skill)
    steps = [
        Step(int(step[:2]), "*", int(step[3:5]), int(step[6:8]))
        for _, solution in texts(pretraining_rows(role, settings, tokenizer, 0, 2), tokenizer)
        for step in solution.split(";")
        if "*" in step
    ]
    knowledge = Knowledge(taught, comparisons=True)
    assert {step.right for step in steps} == set(MULTIPLIERS)
    for step in steps:
        assert (step.left * step.right % 100 == step.result) == knowledge.has(step)


def cache(role: Role, cache_dir: Path, **settings: object) -> Path:
    model = TeacherModelSettings(pretrain=PretrainSettings.model_validate(settings))
    found = cached_path(role, model, ModelsSettings(student=model, teacher=model, cache_dir=cache_dir))
    assert found is not None
    return found


def test_a_cached_model_is_found_again_by_its_role_and_settings_alone(tmp_path: Path) -> None:
    base = cache("student", tmp_path)
    assert base.parent == tmp_path
    assert cache("student", tmp_path) == base
    assert cache("student", tmp_path / "other").name == base.name
    others = [
        cache("teacher", tmp_path),
        cache("student", tmp_path, steps=10),
        cache("student", tmp_path, seed=1),
        cache("student", tmp_path, command_tokens="special"),
        cache("student", tmp_path, architecture={"layers": 3}),
        cache("student", tmp_path, mix={"known": 1}),
        cache("student", tmp_path, optimizer={"lr": 1e-3}),
        cache("student", tmp_path, lengths=[2]),
        cache("student", tmp_path, forms={"plain": 1, "postfix": 1}),
        cache("student", tmp_path, skill=0.5),
    ]
    assert len({base, *others}) == 11


def test_a_model_with_a_path_is_not_cached(tmp_path: Path) -> None:
    model = TeacherModelSettings(path="somewhere")
    assert cached_path("student", model, ModelsSettings(student=model, teacher=model, cache_dir=tmp_path)) is None


class Tracked:
    """Stands in for the tracker: keeps which stages have metrics."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def log(self, stage: str, step: int, metrics: dict[str, float]) -> None:
        self.stages.append(stage)


def test_two_teachers_are_pretrained_side_by_side_and_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespaces: list[str] = []

    class Learner:
        def __init__(self, settings: object, device: object, namespace: str, *_: object, **__: object) -> None:
            namespaces.append(namespace)

        def wait(self, seconds: float) -> None:
            pass

        def load(self, *_: object, **__: object) -> None:
            pass

        def sft_steps(self, batch: object, rows: list[object]) -> list[SimpleNamespace]:
            return [SimpleNamespace(loss=1.0) for _ in rows]

        def export_into(self, folder: Path) -> None:
            pass

        def shutdown(self) -> None:
            pass

    monkeypatch.setattr(base_models, "LearnerGroup", Learner)
    monkeypatch.setattr("ray.put", lambda batch: batch)

    def model(seed: int) -> dict[str, object]:
        return {"pretrain": {"seed": seed, "steps": 1, "problems_per_step": 2}}

    source = {"source": "chain_arithmetic", "counts": {"known": 1}}
    settings = {
        "name": "two-teachers",
        "models": {"student": model(0), "teacher": model(0), "cache_dir": str(tmp_path)},
        "data": {"train": source, "evaluation": [source]},
        "evaluation": {"teacher": model(1)},
    }
    tracked = Tracked()
    experiment = Experiment.model_validate(settings)
    assert finished_base_models(experiment) is None
    models = prepare_base_models(experiment, tracked)  # type: ignore[arg-type]
    assert finished_base_models(experiment) == models
    assert len({models.student, models.teacher, models.final_teacher}) == 3
    assert len(set(namespaces)) == 3, "Ray refuses a second actor of one name in one namespace"
    assert sorted(tracked.stages) == ["pretrain-final-teacher", "pretrain-student", "pretrain-teacher"]


def test_rows_are_laid_out_step_by_step(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = pretraining_rows("student", PretrainSettings(problems_per_step=5), tokenizer, 3, 7)
    assert len(rows) == 4 * 5
    assert np.all(np.diff(rows.offsets) > 0)
    assert rows.offsets[-1] == len(rows.token_ids) == len(rows.loss_mask)


def test_a_relative_model_path_is_the_drivers_and_a_hub_name_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("student", "models/teacher"):
        model_folder(tmp_path / name)
    assert located("models.student.path", "student") == str(tmp_path / "student")
    assert located("models.student.path", "./student") == str(tmp_path / "student")
    assert located("models.teacher.path", "~/models/teacher") == str(tmp_path / "models/teacher")
    assert located("models.teacher.path", "Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"
    source = {"source": "chain_arithmetic", "counts": {"known": 1}}
    experiment = Experiment.model_validate(
        {
            "name": "relative",
            "models": {"student": {"path": "student"}, "teacher": {"path": "models/teacher"}},
            "data": {"train": source, "evaluation": [source]},
        }
    )
    found = finished_base_models(experiment)
    assert found is not None
    assert (found.student, found.teacher) == (str(tmp_path / "student"), str(tmp_path / "models/teacher"))


@pytest.mark.parametrize(
    "path", ["./student", "../a", "/nowhere/model", "~/model", "runs/demo/model", "my model", "modèle", "a\0b", "-x"]
)
def test_a_path_without_a_model_is_refused_by_its_key_and_never_looked_up_on_the_hub(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.student\.path = .* is no folder"):
        located("models.student.path", path)
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        located("models.student.path", str(tmp_path))


def test_a_model_path_that_no_folder_can_have_is_refused_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(ConfigError, match=r"weights\.safetensors is no folder"):
        located("models.student.path", "weights.safetensors")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match=r"models\.student\.path = .* has no config\.json"):
        located("models.student.path", str(tmp_path))
    for path in ("x" * 300, f"~/{'x' * 300}"):
        with pytest.raises(ConfigError, match=r"models\.teacher\.path = '.*': cannot be looked up: File name too long"):
            located("models.teacher.path", path)
