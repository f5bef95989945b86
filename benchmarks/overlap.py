"""Does a step take only as long as the longer of rollout and learning, if both run side by side?

A shortened run of the demo's experiment is done with `grpo.async_depth` 0 (in turns) and 1 (side by side), in rounds of
alternating order.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

from benchmarks._whole_runs import DEMO, run_demo
from benchmarks.harness import Goal, Row, arguments, paired, report
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.records.run_directory import RunDirectory
from pipelines.records.tracking import read_metrics

ROUNDS, STEPS = 3, 14
QUICK_ROUNDS, QUICK_STEPS = 1, 5
SKIP = 2
"""number of first steps of a run that do not count"""
NOT_PART = 10**6
"""interval, in steps, of what must not happen during the run"""
NAMES = {0: "in turns (async_depth 0)", 1: "side by side (async_depth 1)"}
OVERLAP = Goal("value", "<=", 1.1)


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of one GRPO step."""

    step: float
    rollout: float
    """of the rollout during this step; with depth 1, it decodes the next step's groups"""
    learn: float
    sync: float

    @property
    def ratio(self) -> float:
        """Step / the longer of rollout and learning: 1 if both overlap fully and nothing else takes time."""
        return self.step / max(self.rollout, self.learn)


def main() -> None:
    options = arguments(__doc__).parse_args()
    rounds, steps = (QUICK_ROUNDS, QUICK_STEPS) if options.quick else (ROUNDS, STEPS)
    overrides = _overrides(steps, options.quick)
    taken: dict[int, list[list[StepTimes]]] = {depth: [] for depth in NAMES}
    with tempfile.TemporaryDirectory(prefix="overlap-") as folder:
        numbers = count()

        def run_with(depth: int) -> Callable[[], float]:
            def run() -> float:
                directory = Path(folder) / str(next(numbers))
                run_demo([*overrides, f"run_dir={directory}", f"grpo.async_depth={depth}"])
                taken[depth].append(step_times(read_metrics(RunDirectory(directory), "grpo"), depth, SKIP))
                return median(times.step for times in taken[depth][-1])

            return run

        rows = paired({name: run_with(depth) for depth, name in NAMES.items()}, runs=rounds, warmups=0)
    rows += [
        Row(
            f"{name}: step / the longer of rollout and learning",
            "×",
            [median(times.ratio for times in steps_of_run) for steps_of_run in taken[depth]],
            goal=OVERLAP if depth else None,
        )
        for depth, name in NAMES.items()
    ]
    report("overlap", rows, options, _notes(load(DEMO, overrides, Experiment), steps))


def step_times(rows: Mapping[int, Mapping[str, float | None]], depth: int, skip: int) -> list[StepTimes]:
    """Return the times of all steps but the first `skip` and the last. With depth 1, no rollout runs during the last step."""

    def seconds(step: int, phase: str) -> float:
        value = rows[step][f"time/{phase}_s"]
        assert value is not None
        return value

    return [
        StepTimes(
            seconds(step, "step"), seconds(step + depth, "rollout"), seconds(step, "learn"), seconds(step, "sync")
        )
        for step in sorted(rows)[skip:-1]
    ]


def _overrides(steps: int, quick: bool) -> list[str]:
    short = [f"models.{model}.pretrain.steps=30" for model in ("student", "teacher")]
    return [
        "name=overlap",
        f"grpo.steps={steps}",
        f"grpo.evaluate_every={NOT_PART}",
        f"grpo.checkpoint_every={NOT_PART}",
        "filter.enabled=false",
        f"warmup.samples={64 if quick else 1000}",
        "warmup.copies=4",
        "evaluation={base: [], warmup: [], training: [], final: []}",
        "tracking.mode=disabled",
        "grpo.loss.tis_cap=2",
        *(short if quick else ()),
    ]


def _notes(experiment: Experiment, steps: int) -> list[str]:
    grpo = experiment.grpo
    return [
        f"Median of the steps {SKIP + 1} to {steps - 1} of a run; {grpo.prompts_per_step} prompts x {grpo.group_size}, "
        f"at most {grpo.limits.max_new_tokens} tokens, {grpo.mini_batches} mini-batches, tis_cap {grpo.loss.tis_cap}.",
        f"The student's engine, the teacher's engine and the learner share {len(os.sched_getaffinity(0))} cores. With fewer than "
        "three cores, a step side by side takes longer than the longer of rollout and learning.",
    ]


if __name__ == "__main__":
    main()
