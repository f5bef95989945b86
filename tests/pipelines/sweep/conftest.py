"""Sweep files around a small experiment, whose trials do what a script says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipelines.sweep.scripts import Scripted

EXPERIMENT: dict[str, Any] = {
    "name": "base",
    "models": {"student": {"path": "a"}, "teacher": {"path": "b"}},
    "data": {
        "train": {"source": "chain_arithmetic", "counts": {"known": 3}},
        "evaluation": [{"source": "chain_arithmetic", "counts": {"known": 2, "teacher_known": 2}}],
    },
    "grpo": {"steps": 40, "evaluate_every": 10},
    # A cluster that no test joins: so the runner starts no Ray.
    "cluster": {"device": "cpu", "address": "a-cluster-that-no-test-joins:1"},
}
SWEEP: dict[str, Any] = {
    "name": "small",
    "program": "base.yaml",
    "method": "grid",
    "metric": {"name": "evaluate/relay/accuracy_within_budget", "goal": "maximize"},
    "parameters": {"seed": {"values": [1, 2, 3]}, "evaluation.call_ratio_budget": {"value": 0.05}},
}

WriteSweep = Callable[..., Path]


@pytest.fixture
def write_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteSweep:
    """Return a function that writes a sweep with changes to its keys, in the working directory of the test."""
    monkeypatch.chdir(tmp_path)

    def write(experiment: dict[str, Any] | None = None, **changes: Any) -> Path:
        (tmp_path / "base.yaml").write_text(yaml.safe_dump({**EXPERIMENT, **(experiment or {})}))
        path = tmp_path / "sweep.yaml"
        keys = {key: value for key, value in {**SWEEP, **changes}.items() if value is not None}
        path.write_text(yaml.safe_dump(keys, sort_keys=False))
        return path

    return write


@pytest.fixture
def scripted(write_sweep: WriteSweep) -> Callable[..., Scripted]:
    """Return a function from changes of a sweep file to the sweep."""
    return lambda **changes: Scripted(write_sweep(**changes))
