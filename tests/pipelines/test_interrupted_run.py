"""A real run that is interrupted: nothing of it stays alive, what is finished is kept, and the same command goes on."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.records.run_directory import RunDirectory

REPOSITORY = Path(__file__).parents[2]
SMALL = """
extends: {demo}
name: interrupted
models:
  student: {{pretrain: {{steps: 30}}}}
  teacher: {{pretrain: {{steps: 30, problems_per_step: 16}}}}
  cache_dir: {cache}
data:
  train: {{counts: {{known: 16, teacher_known: 16, unknowable: 0}}}}
  evaluation: [{{source: chain_arithmetic, counts: {{known: 4}}}}]
filter: {{enabled: false}}
warmup: {{samples: 32, epochs: 1000}}
grpo: {{steps: 1000, prompts_per_step: 4, group_size: 4, mini_batches: 1, checkpoint_every: 1, evaluate_every: 1000}}
evaluation: {{base: [student]}}
tracking: {{mode: offline}}
"""


class Interrupted:
    """The run of one experiment, as a process in a session of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = f"RELAY_INTERRUPTED_RUN={uuid.uuid4().hex}"
        (folder / "small.yaml").write_text(
            SMALL.format(demo=REPOSITORY / "experiments" / "demo.yaml", cache=folder / "models")
        )
        self.directory = RunDirectory(folder / "run")

    def start(self, *overrides: str) -> subprocess.Popen[bytes]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
        name, value = self.mark.split("=")
        command = [sys.executable, "-m", "pipelines", "run", str(self.folder / "small.yaml")]
        return subprocess.Popen(
            [*command, f"run_dir={self.directory.path}", *overrides],
            cwd=REPOSITORY,
            env=inherited | {name: value, "PYTHONUNBUFFERED": "1"},
            stdout=(self.folder / "output").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    def left(self) -> dict[int, str]:
        """Return the processes that stem from this run: all that have its variable."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
            except OSError:  # ended meanwhile
                continue
        return found

    def wait_until_none_is_left(self, timeout_s: float = 60.0) -> None:
        for pid, command in self.left().items():
            try:
                ended = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            assert select.select([ended], [], [], timeout_s)[0], f"still there: {pid} {command}"
            os.close(ended)
        assert not self.left()


@pytest.fixture
def interrupted(tmp_path: Path):
    run = Interrupted(tmp_path)
    yield run
    for pid in run.left():
        os.kill(pid, signal.SIGKILL)


def wait_for(run: Interrupted, process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    """Wait until the run has come so far, as its files say; a process that ends earlier fails the test."""
    while not reached():
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"the run ended with {process.returncode} too early:\n{run.output()[-4000:]}")


def steps_of(run: Interrupted, stage: str) -> int:
    rows = run.directory.read_jsonl("metrics.jsonl")
    return max((int(row["step"]) for row in rows if row["stage"] == stage), default=0)  # type: ignore[call-overload]


def ended(run: Interrupted, process: subprocess.Popen[bytes], status: int) -> str:
    """Wait for the end of all processes of the run, and return the last line that it printed."""
    assert process.wait(timeout=120) == status, run.output()[-4000:]
    run.wait_until_none_is_left()
    output = run.output()
    assert "Traceback" not in output and "*** SIG" not in output, output[-4000:]
    return output.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_is_interrupted_in_each_stage_and_goes_on_with_the_same_command(interrupted: Interrupted) -> None:
    process = interrupted.start()
    wait_for(interrupted, process, lambda: steps_of(interrupted, "warmup") > 0)
    os.kill(process.pid, signal.SIGTERM)  # as `ray job stop`, a scheduler or systemd does
    last = ended(interrupted, process, 143)
    assert last.startswith("stopped by SIGTERM; what is finished is kept. To go on: python -m pipelines run ")
    assert interrupted.directory.stage_done("evaluate-base-student")
    assert not interrupted.directory.stage_done("warmup")

    (interrupted.folder / "small.yaml").write_text(
        (interrupted.folder / "small.yaml").read_text().replace("epochs: 1000", "epochs: 1")
    )
    (interrupted.directory.path / "experiment.yaml").unlink()  # another experiment, for a short warm-up
    process = interrupted.start()
    wait_for(interrupted, process, lambda: steps_of(interrupted, "grpo") > 1)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends Ctrl-C to all processes of the job
    assert ended(interrupted, process, 130).startswith("stopped by Ctrl-C; what is finished is kept")
    kept = sorted((interrupted.directory.stage_dir("grpo") / "checkpoints").glob("0*/problems.json"))
    assert kept and json.loads(kept[-1].read_text())
    (own_id,) = {path.stem for path in interrupted.directory.path.glob("wandb/offline-run-*/run-*.wandb")}
    assert own_id.startswith("run-")

    process = interrupted.start()
    steps = steps_of(interrupted, "grpo")
    wait_for(interrupted, process, lambda: steps_of(interrupted, "grpo") > steps)
    os.kill(process.pid, signal.SIGINT)
    wait_for(interrupted, process, lambda: "Ctrl-C again" in interrupted.output())
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    interrupted.wait_until_none_is_left()
