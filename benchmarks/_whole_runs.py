"""Runs an experiment as a user would, for benchmarks of whole runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

DEMO = Path(__file__).parents[1] / "experiments/demo.yaml"


def run_demo(overrides: Sequence[str]) -> None:
    """Run the demo's experiment on a Ray of its own. Exits with the end of its output if it fails."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
    command = [sys.executable, "-m", "pipelines", "run", str(DEMO), *overrides]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
