"""A study of two tiny runs on real Ray: what both need is done once, and a second call starts nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.records.run_directory import RunDirectory
from pipelines.study.collect import read_results
from pipelines.study.plan import load_study

REPOSITORY = Path(__file__).parents[3]
RELAY = f"""
extends: {REPOSITORY / "experiments" / "demo.yaml"}
name: relay
models:
  student: {{pretrain: {{steps: 30}}}}
  teacher: {{pretrain: {{steps: 30, problems_per_step: 16}}}}
data:
  train: {{counts: {{known: 16, teacher_known: 16, unknowable: 4}}}}
  evaluation: [{{source: chain_arithmetic, counts: {{known: 6, teacher_known: 6, unknowable: 4}}}}]
filter: {{samples: 2, min_pass_rate: 0.0}}
warmup: {{samples: 64, epochs: 2}}
grpo: {{steps: 2, prompts_per_step: 4, group_size: 4, mini_batches: 2, evaluate_every: 2}}
evaluation: {{warmup: [], traces: 5}}
"""
SIMPLE = """
extends: relay.yaml
name: simple
reward: {scheme: simple}
"""
STUDY = """
name: pair
runs: {relay: relay.yaml, simple: simple.yaml}
overrides: {tracking: {mode: disabled}}
resamples: 200
systems:
  base: simple/base/student
  teacher: relay/base/teacher
  relay: relay/final/relay
  relay_teacher_free: relay/final/student
  relay_simple: simple/final/relay
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_runs_share_what_both_need_and_are_compared(tmp_path: Path) -> None:
    for name, text in (("relay", RELAY), ("simple", SIMPLE), ("study", STUDY)):
        (tmp_path / f"{name}.yaml").write_text(text)
    arguments = [str(tmp_path / "study.yaml"), f"directory={tmp_path / 'out'}"]
    arguments.append(f"overrides.models.cache_dir={tmp_path / 'models'}")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
    environment["RAY_raylet_start_wait_time_s"] = "300"  # where other tests keep all cores busy

    def run_study() -> str:
        finished = subprocess.run(
            [sys.executable, "-m", "pipelines", "study", *arguments],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-6000:]
        return finished.stdout

    printed = run_study()
    assert "[2/2] simple: finished after" in printed
    study = load_study(Path(arguments[0]), arguments[1:])
    first, second = (RunDirectory(run.directory) for run in study.runs.values())
    for stage in ("filter", "warmup", "evaluate-base-student", "evaluate-base-teacher"):
        assert first.stage_dir(stage).resolve() == second.stage_dir(stage).resolve()
    assert first.stage_dir("grpo").resolve() != second.stage_dir("grpo").resolve()

    results = read_results(study)
    assert list(results.systems) == ["base", "teacher", "relay", "relay_teacher_free", "relay_simple"]
    assert results.missing == {}
    assert {found.table.problems for found in results.systems.values()} == {16}
    assert set(results.oracle) == {"known", "teacher_known", "unknowable", "all"}
    tables = (study.directory / "tables.json").read_text()
    assert json.loads(tables)["systems"]["relay"]["known"]["problems"] == 6
    assert (study.directory / "report.html").stat().st_size > 0

    stages = {path: path.stat().st_mtime_ns for path in (study.directory / "shared").rglob("*") if path.is_file()}
    again = run_study()
    assert "[1/2] relay: finished earlier" in again and "[2/2] simple: finished earlier" in again
    assert {path: path.stat().st_mtime_ns for path in stages} == stages
    assert (study.directory / "tables.json").read_text() == tables
