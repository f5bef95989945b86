"""The demo's base models come with the package: found by their settings, installed, able, and what training them gives."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from setuptools import Distribution
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.data.chain_arithmetic import task
from pipelines.data.chain_arithmetic.knowledge import Role
from pipelines.data.chain_arithmetic.task import Kind
from pipelines.experiment.loading import load
from pipelines.experiment.models import ModelSettings
from pipelines.experiment.schema import Experiment
from pipelines.models.base_models import (
    finished_base_models,
    prepare_base_models,
    pretrained_name,
    pretraining_rows,
    ready_model,
)
from pipelines.models.shipped import shipped_model
from rewards.answers import extract_answer

REPOSITORY = Path(__file__).parents[3]
DEMO = REPOSITORY / "experiments" / "demo.yaml"
SHIPPED = REPOSITORY / "pipelines" / "models" / "shipped"
ROLES: tuple[Role, ...] = ("student", "teacher")
FROM_SCRATCH = [f"models.{role}.pretrain.shipped=false" for role in ROLES]
MODELS_ALONE = ["warmup.enabled=false", "grpo.enabled=false", "evaluation.final=[]", "tracking.mode=disabled"]


def demo(*overrides: str) -> Experiment:
    return load(DEMO, overrides, Experiment)


def model(role: Role, *overrides: str) -> ModelSettings:
    return getattr(demo(*overrides).models, role)  # type: ignore[no-any-return]


def name(role: Role, *overrides: str) -> str:
    settings = model(role, *overrides).pretrain
    assert settings is not None
    return pretrained_name(role, settings)


def test_the_shipped_models_are_those_of_the_demos_settings() -> None:
    """If this fails, a setting of the demo's models was changed: make the files anew, as their README.md says."""
    assert {path.name for path in SHIPPED.iterdir() if path.is_dir() and path.name != "__pycache__"} == {
        name(role) for role in ROLES
    }


def test_a_fresh_machine_has_the_demos_base_models_without_training_or_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    models = finished_base_models(demo(f"models.cache_dir={cache}"))
    assert models is not None
    assert [models.student, models.teacher] == [str(SHIPPED / name(role)) for role in ROLES]
    assert not cache.exists()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("change", ["shipped=false", "steps=2501", "seed=5", "optimizer.lr=0.001"])
def test_a_model_that_is_to_be_trained_or_has_other_settings_is_not_there(
    role: Role, change: str, tmp_path: Path
) -> None:
    experiment = demo(f"models.cache_dir={tmp_path}", f"models.{role}.pretrain.{change}")
    assert finished_base_models(experiment) is None


def test_a_model_that_was_trained_is_told_from_the_shipped_one_by_the_setting_alone(tmp_path: Path) -> None:
    assert name("teacher") == name("teacher", *FROM_SCRATCH)
    trained = tmp_path / name("teacher") / "model"
    trained.mkdir(parents=True)
    for overrides, folder in (([], SHIPPED / name("teacher")), (FROM_SCRATCH, trained)):
        experiment = demo(f"models.cache_dir={tmp_path}", *overrides)
        assert ready_model("teacher", experiment.models.teacher, experiment.models) == str(folder)


def test_unshipped_models_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[str, Path]] = []

    def train(name: str, role: Role, settings: object, folder: Path, *_: object) -> None:
        trained.append((name, folder))

    monkeypatch.setattr("pipelines.models.base_models._pretrain", train)
    experiment = demo(f"models.cache_dir={tmp_path}", FROM_SCRATCH[0])
    models = prepare_base_models(experiment, None)  # type: ignore[arg-type]
    assert [name for name, _ in trained] == ["student"]
    assert models.student == str(tmp_path / name("student") / "model")
    assert models.teacher == str(SHIPPED / name("teacher"))


def test_setuptools_installs_every_file() -> None:
    distribution = Distribution()
    distribution.parse_config_files([str(REPOSITORY / "pyproject.toml")])
    command = distribution.get_command_obj("build_py")
    command.ensure_finalized()
    command.manifest_files = {}  # it would write an egg-info to find that nothing comes through a MANIFEST.in
    installed = {Path(file) for file in command.find_data_files("pipelines.models.shipped", str(SHIPPED))}
    files = {path for path in SHIPPED.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.name for path in files} >= {"README.md", "model.safetensors", "tokenizer.json"}
    assert files - installed == {SHIPPED / "__init__.py"}


def solved(role: Role, kind: Kind, folder: Path) -> float:
    """Return the share of unseen problems that a model solves by itself, greedily."""
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    problems = task.problems({kind: 40}, task.Split.EVALUATION, seed=0)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": problem.question}], add_generation_prompt=True, tokenize=False
        )
        for problem in problems
    ]
    batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    written = network.generate(**batch, max_new_tokens=48, do_sample=False)[:, batch["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(written, skip_special_tokens=True)
    right = [extract_answer(text) == problem.gold for problem, text in zip(problems, texts, strict=True)]
    return sum(right) / len(right)


@pytest.mark.parametrize(
    ("role", "kind", "least", "most"),
    [
        ("student", Kind.KNOWN, 0.95, 1.0),
        ("student", Kind.TEACHER_KNOWN, 0.0, 0.1),
        ("teacher", Kind.KNOWN, 0.95, 1.0),
        ("teacher", Kind.TEACHER_KNOWN, 0.95, 1.0),
    ],
)
def test_shipped_models_know_what_their_role_knows(role: Role, kind: Kind, least: float, most: float) -> None:
    folder = shipped_model(name(role))
    assert folder is not None
    assert least <= solved(role, kind, folder) <= most


def loss(role: Role, folder: Path) -> float:
    """Return a model's mean cross-entropy over the targets of rows that come after those it was trained on."""
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    settings = model(role).pretrain
    assert settings is not None
    rows = pretraining_rows(role, settings, tokenizer, settings.steps, settings.steps + 8)
    total = 0.0
    for start, end in itertools.pairwise(rows.offsets):
        ids = torch.from_numpy(rows.token_ids[start:end].astype("int64"))
        with torch.no_grad():
            logprobs = network(ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
        total -= float(logprobs[torch.from_numpy(rows.loss_mask[start + 1 : end])].sum())
    return total / int(rows.loss_mask.sum())


def accuracies(run_dir: Path, *overrides: str) -> dict[tuple[str, str], float]:
    """Return the accuracy of both base models on each kind of problem, by a run that does nothing else."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
    command = [sys.executable, "-m", "pipelines", "run", str(DEMO), f"run_dir={run_dir}", *MODELS_ALONE, *overrides]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-6000:]
    rows = map(json.loads, (run_dir / "evaluations.jsonl").read_text().splitlines())
    return {(row["policy"], row["kind"]): row["accuracy"] for row in rows}


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_training_them_gives_what_is_shipped(tmp_path: Path) -> None:
    """Rounding differs by machine, and with it every weight: what is compared is how well the models do."""
    shipped = accuracies(tmp_path / "shipped")
    cache = tmp_path / "cache"
    trained = accuracies(tmp_path / "trained", f"models.cache_dir={cache}", *FROM_SCRATCH)
    for found in (shipped, trained):
        assert found["student", "known"] >= 0.97
        assert found["student", "teacher_known"] <= 0.05
        assert found["teacher", "known"] >= 0.97
        assert found["teacher", "teacher_known"] >= 0.97
    for role in ROLES:
        assert loss(role, cache / name(role) / "model") == pytest.approx(loss(role, SHIPPED / name(role)), abs=0.03)
