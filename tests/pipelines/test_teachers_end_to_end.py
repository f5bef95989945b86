"""Whole runs with other teachers than one actor: a vLLM server with a recording, and replicas of which one is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipelines.models import shipped
from pipelines.records.answers import AnswerTable
from pipelines.records.run_directory import RunDirectory
from tests.engines.openai_server import vllm_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
KEY = "k-123-of-the-teacher"
SHORT = f"""
extends: {REPOSITORY / "experiments" / "demo.yaml"}
name: short
data:
  train: {{counts: {{known: 12, teacher_known: 16, unknowable: 2}}}}
  evaluation: [{{source: chain_arithmetic, counts: {{known: 8, teacher_known: 8, unknowable: 2}}}}]
warmup: {{samples: 400, copies: 16}}  # enough to learn to call
grpo: {{steps: 2, prompts_per_step: 4, group_size: 4, mini_batches: 2, evaluate_every: 2}}
evaluation: {{problems_during_training: 8, traces: 5, final: [student, relay, teacher]}}
tracking: {{mode: disabled}}
"""


def command(experiment: Path, run_dir: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "pipelines", "run", str(experiment), f"run_dir={run_dir}", *overrides]


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
    return kept | more


def run(*arguments: str, **more: str) -> str:
    done = subprocess.run(
        arguments, cwd=REPOSITORY, env=environment(**more), capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout + done.stderr


@pytest.fixture
def short(tmp_path: Path) -> Path:
    path = tmp_path / "short.yaml"
    path.write_text(SHORT)
    return path


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = tmp_path_factory.mktemp("served") / "teacher"
    shutil.copytree(next(Path(shipped.__file__).parent.glob("chain-arithmetic-teacher-*")), model)
    with vllm_server(model, "big", api_key=KEY) as address:
        yield address


def requests_of(url: str) -> int:
    found = httpx.get(url.removesuffix("/v1") + "/metrics").text
    return int(sum(float(count) for count in re.findall(r"^vllm:request_success_total\{.*\} (\S+)$", found, re.M)))


def served(url: str) -> str:
    return f"models.teacher={{pretrain: null, url: '{url}', model: big, api_key_env: TEACHER_KEY}}"


@pytest.mark.parametrize("mode", ["ids", "chat"])
def test_a_run_with_a_served_teacher_and_again_from_its_recording(
    short: Path, tmp_path: Path, url: str, mode: str
) -> None:
    overrides = (served(url), f"models.teacher.mode={mode}", f"teacher.cache={tmp_path / 'recorded'}")
    counts = [requests_of(url)]
    for name in ("first", "second"):
        output = run(*command(short, tmp_path / name, *overrides), TEACHER_KEY=KEY)
        assert KEY not in output
        counts.append(requests_of(url))
    first, second = counts[1] - counts[0], counts[2] - counts[1]
    assert first > 60 and second < first / 2
    directory = RunDirectory(tmp_path / "first")
    assert directory.summary("filter")["kept"] > 0  # type: ignore[operator]
    by_teacher = AnswerTable.read(tmp_path / "first/stages/evaluate-final-teacher/answers.parquet")
    assert by_teacher.correct.mean() > 0.5
    relayed = AnswerTable.read(tmp_path / "first/stages/evaluate-final-relay/answers.parquet")
    assert relayed.calls.sum() > relayed.failed_calls.sum() == 0
    written = [path for path in (tmp_path / "first").rglob("*") if path.is_file()]
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []
    assert "api_key_env: TEACHER_KEY" in (tmp_path / "first/experiment.yaml").read_text()


def test_a_server_that_is_not_there_is_told_before_anything_starts(short: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(short, tmp_path / "run", served("http://127.0.0.1:9/v1")),
        cwd=REPOSITORY,
        env=environment(TEACHER_KEY=KEY),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "the teacher's server is not there" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "experiment.yaml").exists()


def test_a_run_goes_on_when_one_of_two_teachers_is_killed_for_good(short: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(short, tmp_path / "run", "teacher.replicas=2", "cluster.max_restarts=0", "evaluation.base=[teacher]"),
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed, killed = [], 0
    for line in process.stdout:
        printed.append(line)
        if not killed and "evaluate warmup" in line:
            killed = kill_one_teacher(process.pid)
    assert killed and process.wait(timeout=60) == 0, "".join(printed)[-6000:]
    done = json.loads((tmp_path / "run/stages/grpo/done.json").read_text())
    assert done["steps"] == 2
    assert "teacher-" in "".join(printed)


def kill_one_teacher(driver: int) -> int:
    """Kill one of the two teacher actors among the driver's descendants, and return its process."""
    import psutil

    teachers = [
        child
        for child in psutil.Process(driver).children(recursive=True)
        if "TeacherActor" in " ".join(child.cmdline())
    ]
    assert len(teachers) == 2
    os.kill(teachers[0].pid, signal.SIGKILL)
    return int(teachers[0].pid)
