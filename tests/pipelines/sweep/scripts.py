"""What the trials of a sweep do in a test, in place of real runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipelines.sweep.plan import Sweep, load_sweep

STAND_IN = Path(__file__).with_name("scripted_trial.py")


class Scripted:
    """A sweep whose trials do what they are told, by their seed."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.script = file.with_name("script.json")
        self.command = (sys.executable, str(STAND_IN), str(self.script))

    @property
    def sweep(self) -> Sweep:
        return load_sweep(self.file)

    def tell(self, **seeds: list[list[object]]) -> None:
        """Tell what the trials with seed 1, 2, ... do: `_1=[...]`."""
        self.script.write_text(json.dumps({seed.removeprefix("_"): steps for seed, steps in seeds.items()}))

    def starts(self) -> list[dict[str, str]]:
        """Return the overrides of every start since the last call."""
        path = self.script.with_name("starts.txt")
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


def final(accuracy: float, call_ratio: float = 0.0) -> list[object]:
    """Return the step of a final evaluation."""
    return ["evaluate", "final", 40, accuracy, call_ratio]


def within(step: int, accuracy: float) -> list[object]:
    """Return the step of an evaluation within GRPO."""
    return ["evaluate", f"grpo-{step:04d}", step, accuracy, 0.0]
