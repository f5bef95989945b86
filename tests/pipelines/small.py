"""The smallest experiment that loads, and the smallest one that runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).parents[2]

SMALL = """
name: small
models: {student: {path: a}, teacher: {path: b}}
data:
  train: {source: chain_arithmetic, counts: {known: 3}}
  evaluation: [{source: file, path: evaluation.jsonl, kind: algebra}]
"""

SMALL_RUN = """
extends: {demo}
name: small
run_dir: {run_dir}
models:
  cache_dir: {cache}
  student: {{pretrain: {{steps: 30}}}}
  teacher: {{pretrain: {{steps: 30, problems_per_step: 16}}}}
data:
  train: {{counts: {{known: 16, teacher_known: 16}}}}
  evaluation: [{{source: chain_arithmetic, counts: {{known: 6}}}}]
filter: {{enabled: false}}
warmup: {{samples: 64}}
grpo:
  {{steps: 3, prompts_per_step: 4, group_size: 4, mini_batches: 2, checkpoint_every: 2, evaluate_every: 2,
    loss: {{kl_coefficient: 0.01}}, optimizer: {{lr: 1.0e-3, weight_decay: 30}}}}  # moves the weights, whatever the rewards
evaluation: {{base: [], warmup: [], training: [relay], final: [teacher]}}
tracking: {{mode: disabled}}
"""


def small_run(folder: Path) -> Path:
    """Write the experiment's file into `folder`, where its run will be in `run`, and return it."""
    file, demo = folder / "small.yaml", REPOSITORY / "experiments" / "demo.yaml"
    file.write_text(SMALL_RUN.format(demo=demo, run_dir=folder / "run", cache=folder / "models"))
    return file


def start(command: Sequence[str | Path], output: IO[str]) -> subprocess.Popen[str]:
    """Start a command in the repository, without what would lead it to a cluster or a project of the user's."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
    environment["PYTHONPATH"] = str(REPOSITORY)
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
    )


def output_of(command: Sequence[str | Path], log: Path, seconds: float = 280) -> str:
    """Run a command to its end, and return what it wrote. Its exit status has to be 0."""
    with log.open("w") as output, start(command, output) as process:
        try:
            status = process.wait(seconds)
        finally:
            process.kill()
    said = log.read_text(errors="replace")
    assert status == 0, said[-6000:]
    return said
