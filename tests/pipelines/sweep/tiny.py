"""A sweep of two real trials, as small as they get."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[3]
_EXPERIMENT = """
extends: {root}/experiments/demo.yaml
name: tiny
models:
  cache_dir: {folder}/models
  student: {{pretrain: {{steps: 30}}}}
  teacher: {{pretrain: {{steps: 30, problems_per_step: 16}}}}
data:
  train: {{counts: {{known: 16, teacher_known: 16, unknowable: 4}}}}
  evaluation: [{{source: chain_arithmetic, counts: {{known: 6, teacher_known: 6, unknowable: 4}}}}]
filter: {{samples: 2, min_pass_rate: 0.0}}
warmup: {{samples: 64, epochs: 2}}
grpo: {{steps: 2, prompts_per_step: 4, group_size: 4, mini_batches: 2, evaluate_every: 1}}
evaluation: {{base: [], warmup: [], training: [relay], final: [relay], traces: 5}}
"""
_SWEEP = """
name: tiny
program: base.yaml
command: ["${env}", python, -m, pipelines, sweep, tiny.yaml, --trial, "${args_no_hyphens}"]
method: grid
metric: {name: evaluate/relay/accuracy_within_budget, goal: maximize}
parameters:
  reward.independence_bonus: {values: [1.0, 1.5]}
"""


def write_tiny(folder: Path) -> Path:
    """Write the experiment and the sweep, and return the sweep's file."""
    (folder / "base.yaml").write_text(_EXPERIMENT.format(root=ROOT, folder=folder))
    file = folder / "tiny.yaml"
    file.write_text(_SWEEP)
    return file


def environment() -> dict[str, str]:
    """Return this process's environment without what would change where a run goes."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
    kept["RAY_raylet_start_wait_time_s"] = "300"  # where other tests keep all cores busy
    return kept
