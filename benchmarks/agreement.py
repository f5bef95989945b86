"""How much do two runs with the same seed agree? Measures the share of equal trajectories, step by step.

The demo's experiment runs twice with one rollout worker and once with two. This takes as long as three demos, so
`python -m benchmarks` runs it only by name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from benchmarks.harness import Row, arguments, report
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment

EXPERIMENT = Path(__file__).parents[1] / "experiments/demo.yaml"
WORKERS = {"first run": 1, "second run": 1, "with two workers": 2}
STEPS = (1, 2, 5, 10, 20, 50)
"""steps that are compared; the last step is added"""
QUICK = [
    "grpo.steps=3",
    "warmup.samples=64",
    "filter.enabled=false",
    "evaluation={base: [], warmup: [], training: [], final: []}",
]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace values of the demo's experiment")
    options = parser.parse_args()
    overrides = ["name=agreement", "tracking.mode=disabled", *(QUICK if options.quick else ()), *options.overrides]
    with tempfile.TemporaryDirectory(prefix="agreement-") as folder:
        runs = {
            name: _recorded(Path(folder) / name.replace(" ", "-"), workers, overrides)
            for name, workers in WORKERS.items()
        }
    last = len(runs["first run"])
    rows = [
        Row(
            f"step {step}: {one} and {other}",
            "of trajectories equal",
            [equal_share(runs[one][step - 1], runs[other][step - 1])],
        )
        for one, other in combinations(runs, 2)
        for step in (*(step for step in STEPS if step < last), last)
    ]
    report(
        "agreement",
        rows,
        options,
        [f"Seed {load(EXPERIMENT, overrides, Experiment).seed}; {len(runs['first run'][0])} trajectories a step."],
    )


def equal_share(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the share of positions, in [0, 1], that have the same fingerprint in both runs."""
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def _recorded(folder: Path, workers: int, overrides: Sequence[str]) -> list[list[str]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
    target = folder.with_suffix(".json")
    own = [f"run_dir={folder}", f"rollout.workers={workers}"]
    command = [sys.executable, "-m", "benchmarks._recorded_run", str(target), str(EXPERIMENT), *overrides, *own]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    steps: list[list[str]] = json.loads(target.read_text(encoding="utf-8"))
    return steps


if __name__ == "__main__":
    main()
