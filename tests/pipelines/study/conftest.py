"""Study files with small experiments, and answers as their runs leave them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipelines.experiment.stage_keys import shared_folders
from pipelines.records.answers import AnswerTable
from pipelines.records.run_directory import RunDirectory
from pipelines.study.plan import Study

WriteStudy = Callable[..., Path]
Answers = Callable[..., AnswerTable]
LeaveAnswers = Callable[..., Path]

EXPERIMENT: dict[str, Any] = {
    "models": {"student": {"path": "a"}, "teacher": {"path": "b"}},
    "data": {
        "train": {"source": "chain_arithmetic", "counts": {"known": 3}},
        "evaluation": [{"source": "chain_arithmetic", "counts": {"known": 2, "teacher_known": 2}}],
    },
    "cluster": {"device": "cpu", "address": "a-cluster-that-no-test-joins:1"},
}
STUDY: dict[str, Any] = {
    "name": "pair",
    "runs": {"relay": "relay.yaml", "grpo": "grpo.yaml"},
    "systems": {"base": "relay/base/student", "relay": "relay/final/relay", "grpo": "grpo/final/student"},
}


@pytest.fixture
def write_study(tmp_path: Path) -> WriteStudy:
    """Return a function that writes a study with changes to its keys, and those of its experiments, by run."""

    def write(changes: dict[str, Any] | None = None, **experiments: dict[str, Any]) -> Path:
        study = {"directory": str(tmp_path / "out"), **STUDY, **(changes or {})}
        for file in study["runs"].values():
            run = Path(file).stem
            content = {"name": run, **EXPERIMENT, **experiments.get(run, {})}
            (tmp_path / f"{run}.yaml").write_text(yaml.safe_dump(content))
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        return path

    return write


def _answers(correct: Sequence[bool], kinds: Sequence[str], **columns: object) -> AnswerTable:
    """Return one answer to each problem, of 10 tokens without a call unless `columns` say otherwise."""
    count = len(correct)
    full: dict[str, Any] = {}
    for column in fields(AnswerTable):
        full[column.name] = ((),) * count if column.name.startswith("call_") else np.zeros(count, np.int64)
    questions = np.asarray([f"question {i}" for i in range(count)])
    full |= {
        "problem": np.arange(count),
        "kind": np.asarray(kinds),
        "question": questions,
        "gold": np.asarray(["1"] * count),
        "text": questions,
        "correct": np.asarray(correct),
        "timed_out": np.zeros(count, bool),
        "cut_off": np.zeros(count, bool),
        "teacher_answered": np.zeros(count, bool),
        "output_tokens": np.full(count, 10),
        **columns,
    }
    return AnswerTable(**full)


def _evaluation_row(kind: str, oracle: tuple[float, float] | None) -> dict[str, Any]:
    """Return a row of an evaluation's marker, of which only the oracle matters."""
    accuracy, call_ratio = oracle or (None, None)
    numbers = dict.fromkeys(("accuracy", "solved_share", "call_ratio", "calls_per_sample", "with_call_share"), 0.5)
    numbers |= dict.fromkeys(("failed_call_share", "cut_off_share"), 0.0)
    return {
        "name": "final", "step": 1, "policy": "relay", "kind": kind, "problems": 2, "samples": 2, **numbers,
        "accuracy_ci95": [0.0, 1.0], "requested_mean": None, "output_tokens_mean": 10.0,
        "oracle_call_ratio": call_ratio, "oracle_accuracy": accuracy,
    }  # fmt: skip


def _leave_answers(
    study: Study, system: str, table: AnswerTable, oracle: dict[str, tuple[float, float]] | None = None
) -> Path:
    """Write what a finished evaluation leaves, and return its folder."""
    place = study.systems[system]
    run = study.runs[place.run]
    folder = shared_folders(run.experiment)[place.stage]
    RunDirectory(run.directory).share_stages({place.stage: folder})
    (folder / "answers.parquet").write_bytes(table.to_bytes())
    rows = [_evaluation_row(kind, oracle.get(kind) if oracle else None) for kind in (*sorted(set(table.kind)), "all")]
    (folder / "done.json").write_text(json.dumps({"problems": len(table), "seconds": 12.5, "rows": rows}))
    return folder


@pytest.fixture(scope="session")
def answers() -> Answers:
    """Return the function that makes tables."""
    return _answers


@pytest.fixture(scope="session")
def leave_answers() -> LeaveAnswers:
    """Return the function that writes a system's answers into its run."""
    return _leave_answers
