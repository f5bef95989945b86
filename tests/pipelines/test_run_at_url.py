"""A real run that is kept in a store: killed on one machine, gone on with on another, read on a third."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.store.manifest import Manifest, newest_manifest
from cluster.store.objects import Objects
from cluster.store.urls import working_copy
from pipelines.records.run_directory import RunDirectory
from tests.pipelines.marked_run import REPOSITORY, MarkedRun, marked_run, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EXPERIMENT = """
extends: {demo}
name: at-a-url
data:
  train: {{counts: {{known: 16, teacher_known: 16, unknowable: 0}}}}
  evaluation: [{{source: chain_arithmetic, counts: {{known: 4}}}}]
filter: {{enabled: false}}
warmup: {{samples: 32, copies: 1}}
grpo: {{steps: 6, prompts_per_step: 4, group_size: 4, mini_batches: 1, checkpoint_every: 1, evaluate_every: 1000}}
evaluation: {{base: [student]}}
tracking: {{mode: disabled}}
"""
"""so few steps that the run ends, and enough that it can be killed before"""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[MarkedRun]:
    with marked_run(tmp_path, EXPERIMENT) as run:
        yield run


def kill(run: MarkedRun) -> None:
    for pid in run.left():
        os.kill(pid, signal.SIGKILL)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "pipelines", *words]
    return subprocess.run(whole, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)


def stored_checkpoints(objects: Objects) -> list[int]:
    """The GRPO checkpoints that the newest manifest names."""
    manifest: Manifest | None = newest_manifest(objects)
    files = manifest.files if manifest else {}
    return sorted({int(path.split("/")[3]) for path in files if path.startswith("stages/grpo/checkpoints/")})


def grpo_steps(run: Path) -> list[int]:
    rows = RunDirectory(run).read_jsonl("metrics.jsonl")
    return [int(str(row["step"])) for row in rows if row["stage"] == "grpo"]


def test_a_killed_run_goes_on_on_another_machine_from_its_newest_stored_checkpoint(
    run: MarkedRun, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, place = Objects(url), f"run_dir={url}"
    monkeypatch.setenv("RELAYLLM_WORK_DIR", str(tmp_path / "a"))
    first = run.start(place)
    wait_for(run, first, lambda: bool(stored_checkpoints(objects)))
    kill(run)
    first.wait()
    stored = stored_checkpoints(objects)[-1]
    assert stored < 6

    monkeypatch.setenv("RELAYLLM_WORK_DIR", str(tmp_path / "b"))
    second = run.start(place)
    wait_for(run, second, lambda: stored_checkpoints(objects)[-1] > stored)
    monkeypatch.setenv("RELAYLLM_WORK_DIR", str(tmp_path / "c"))
    refused = command("run", str(run.folder / "small.yaml"), place)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith(
        f"run_dir = {url}: in use by another driver (pid {second.pid} on "
    )
    assert second.wait(1200) == 0, run.output()[-4000:]
    assert f"all of the run is at {url}" in run.output()
    copy = working_copy(url, {"RELAYLLM_WORK_DIR": str(tmp_path / "b")})
    assert grpo_steps(copy)[-(6 - stored) :] == list(range(stored + 1, 7))

    reported = command("report", url)
    assert reported.returncode == 0, reported.stderr
    assert Path(reported.stdout.removeprefix("report: ").strip()).is_file()
    exported = command("export", url, "--to", str(tmp_path / "exported"))
    assert exported.returncode == 0, exported.stderr
    assert json.loads((tmp_path / "exported/config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_missing_ends_a_run_before_any_actor_starts(run: MarkedRun) -> None:
    process = run.start("run_dir=s3://nowhere/runs/demo")
    assert process.wait(120) == 2
    last = run.output().splitlines()[-1]
    assert last.startswith("run_dir = s3://nowhere/runs/demo: there is no such bucket or folder")
    assert "starting Ray" not in run.output() and "Traceback" not in run.output()
