"""Runs an experiment as a user would, for benchmarks of whole runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

DEMO = Path(__file__).parents[1] / "experiments/demo.yaml"


def demo_command(overrides: Sequence[str]) -> list[str]:
    """Return the command that runs the demo's experiment."""
    return [sys.executable, "-m", "pipelines", "run", str(DEMO), *overrides]


def own_environment() -> dict[str, str]:
    """Return this process's environment without what would lead the run to a cluster or a project of the user's."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}


def run_demo(overrides: Sequence[str]) -> None:
    """Run the demo's experiment on a Ray of its own. Exits with the end of its output if it fails."""
    command = demo_command(overrides)
    done = subprocess.run(command, env=own_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
