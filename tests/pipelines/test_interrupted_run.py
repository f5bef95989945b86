"""A real run that is interrupted: nothing of it stays alive, what is finished is kept, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.marked_run import MarkedRun, marked_run, steps_of, wait_for

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


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator[MarkedRun]:
    with marked_run(tmp_path, SMALL) as run:
        yield run


def ended(run: MarkedRun, process: subprocess.Popen[bytes], status: int) -> str:
    """Wait for the end of all processes of the run, and return the last line that it printed."""
    assert process.wait(timeout=120) == status, run.output()[-4000:]
    run.wait_until_none_is_left()
    output = run.output()
    assert "Traceback" not in output and "*** SIG" not in output, output[-4000:]
    return output.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_is_interrupted_in_each_stage_and_goes_on_with_the_same_command(interrupted: MarkedRun) -> None:
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
