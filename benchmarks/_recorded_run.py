"""Does one run and writes a fingerprint of each trajectory of each GRPO step: `_recorded_run.py FILE EXPERIMENT override …`"""

from __future__ import annotations

import json
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any

import ray

from pipelines.driver import drive
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.stages import grpo


def main() -> None:
    target, experiment, *overrides = sys.argv[1:]
    steps: list[list[str]] = []
    start_learning = grpo._start_learning

    def record(run: Any, step: grpo.StepGroups) -> Any:
        rows = (row for group in step.groups for row in ray.get(group.batch))
        steps.append([blake2b(row.token_ids.tobytes(), digest_size=8).hexdigest() for row in rows])
        return start_learning(run, step)

    grpo._start_learning = record
    drive(load(Path(experiment), overrides, Experiment))
    Path(target).write_text(json.dumps(steps), encoding="utf-8")


if __name__ == "__main__":
    main()
