"""A finished run, made by hand: the demo's settings, the shipped student as the one it trained, made-up results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from pipelines.experiment.loading import load, resolved_yaml
from pipelines.experiment.schema import Experiment
from pipelines.models.base_models import ready_model
from pipelines.records.evaluations import Evaluation
from tests.pipelines.evaluation_rows import row

DEMO = Path(__file__).parents[3] / "experiments" / "demo.yaml"
MakeRun = Callable[..., Path]


def evaluations() -> list[Evaluation]:
    return [
        row("base", 0, "student", "known", 199),
        row("base", 0, "student", "teacher_known", 3),
        row("base", 0, "teacher", "known", 198),
        row("base", 0, "teacher", "teacher_known", 196),
        row("warmup", 0, "relay", "known", 150),
        row("warmup", 0, "relay", "teacher_known", 60),
        row("final", 80, "student", "known", 197),
        row("final", 80, "student", "teacher_known", 5),
        row("final", 80, "relay", "known", 194, call_ratio=0.0123),
        row("final", 80, "relay", "teacher_known", 187, call_ratio=0.0987),
    ]


@pytest.fixture(scope="session")
def shipped() -> dict[str, Path]:
    """Return the folders of the demo's base models by role."""
    models = load(DEMO, [], Experiment).models
    found = {
        "student": ready_model("student", models.student, models),
        "teacher": ready_model("teacher", models.teacher, models),
    }
    return {role: Path(str(folder)) for role, folder in found.items()}


@pytest.fixture
def make_run(tmp_path: Path, shipped: dict[str, Path]) -> MakeRun:
    """Return a function that writes a run with these overrides and evaluations."""

    def make(*overrides: str, rows: list[Evaluation] | None = None, stage: str = "grpo", done: bool = True) -> Path:
        run = tmp_path / "run"
        folder = run / "stages" / stage
        shutil.copytree(shipped["student"], folder / "model")
        if done:
            (folder / "done.json").write_text("{}")
        (run / "experiment.yaml").write_text(resolved_yaml(load(DEMO, list(overrides), Experiment)))
        (run / "metrics.jsonl").write_text("")
        found = evaluations() if rows is None else rows
        (run / "evaluations.jsonl").write_text("".join(f"{json.dumps(asdict(one))}\n" for one in found))
        return run

    return make
