"""Does a run lose anything if an actor is killed or stopped every 20 seconds?

The demo's GRPO is done undisturbed, and then once for each seed with a fault every 20 seconds, for 15 minutes or until it ends. All begin
with the same warm-up. All have to end with the same quality, and no process or shared memory may stay behind.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from benchmarks._own_processes import Mark
from benchmarks._whole_runs import DEMO, demo_command, own_environment, run_demo
from benchmarks.harness import Goal, Row, arguments, report
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.records.run_directory import RunDirectory

EVERY_S, FOR_S = 20.0, 900.0
QUICK_STEPS = 8
NO_EARLY_EVALUATIONS = ("evaluation.base=[]", "evaluation.warmup=[]")
STOPPED_S = 5.0
FAULTS: Mapping[str, tuple[str, signal.Signals]] = {
    "rollout worker killed": ("RolloutWorker", signal.SIGKILL),
    "rollout worker stopped": ("RolloutWorker", signal.SIGSTOP),
    "teacher killed": ("TeacherActor", signal.SIGKILL),
    "teacher stopped": ("TeacherActor", signal.SIGSTOP),
    "reward actor killed": ("RewardActor", signal.SIGKILL),
    "reward actor stopped": ("RewardActor", signal.SIGSTOP),
    "learner rank killed": ("LearnerRank", signal.SIGKILL),
}
"""a stopped actor goes on after some seconds"""
SHARED_MEMORY = Path("/dev/shm")


@dataclass
class Soaked:
    """What one run did."""

    seconds: float = 0.0
    accuracy: dict[str, float] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    recovery_s: dict[str, list[float]] = field(default_factory=dict)
    """from a fault to the next logged GRPO step"""
    again: float = 0.0
    """groups decoded again"""
    excluded: float = 0.0
    """trajectories of logged steps that were not trained on"""
    repeated: int = 0
    """GRPO steps that were done again"""
    descriptors: list[int] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    """of the driver, at each fault"""
    left: list[str] = field(default_factory=list)
    """processes and shared memory that stayed behind"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the faults, one run each")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of the experiment")
    options = parser.parse_args()
    short = [f"grpo.steps={QUICK_STEPS}"] if options.quick else []
    base = [*short, *options.set, *NO_EARLY_EVALUATIONS, "tracking.mode=disabled", "cluster.max_restarts=1000"]
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = Path(temporary)
        run_demo([*base, "grpo.steps=1", f"run_dir={folder}/before", f"share_dir={folder}/shared-before"])

        def done(name: str, draws: random.Random | None) -> Soaked:
            shared = shutil.copytree(folder / "shared-before", folder / f"shared-{name}", symlinks=True)
            return soaked(folder / name, [*base, f"share_dir={shared}"], draws)

        calm = done("undisturbed", None)
        struck = {seed: done(f"struck-{seed}", random.Random(seed)) for seed in options.seeds}
    rows = [Row("undisturbed: GRPO and the evaluations after it", "s", [calm.seconds])]
    notes = []
    for seed, run in struck.items():
        rows += _rows(f"seed {seed}", run, calm)
        faults = ", ".join(f"{count} x {name}" for name, count in sorted(run.faults.items()))
        notes += [f"Seed {seed}: {faults}.", *(f"Seed {seed} left {thing}" for thing in run.left)]
    for fault in FAULTS:
        times = [time_s for run in struck.values() for time_s in run.recovery_s.get(fault, [])]
        if times:
            rows.append(Row(f"{fault}: until the next step", "s", times))
    report(
        "soak",
        rows,
        options,
        [f"One fault every {EVERY_S:g} s of GRPO, for {FOR_S / 60:g} minutes or to its end.", *notes],
    )


def _rows(name: str, run: Soaked, calm: Soaked) -> list[Row]:
    lost = [
        Row(
            f"{name}: {kind}: accuracy lost",
            "points",
            [100 * (accuracy - run.accuracy[kind])],
            goal=Goal("value", "<=", 5),
        )
        for kind, accuracy in calm.accuracy.items()
    ]
    return [
        *lost,
        Row(
            f"{name}: GRPO and the evaluations after it",
            "s",
            [run.seconds],
            [run.seconds / calm.seconds],
            "undisturbed",
        ),
        Row(f"{name}: groups decoded again", "groups", [run.again]),
        Row(f"{name}: trajectories not trained on", "trajectories", [run.excluded]),
        Row(f"{name}: GRPO steps done again", "steps", [run.repeated]),
        Row(f"{name}: left behind", "processes, shared memory", [len(run.left)], goal=Goal("value", "<=", 0)),
        Row(
            f"{name}: descriptors of the driver, last - first",
            "descriptors",
            [_growth(run.descriptors)],
        ),
        Row(f"{name}: memory of the driver, last - first", "MiB", [_growth(run.memory_mib)]),
    ]


def _growth(values: Sequence[float]) -> float:
    return values[-1] - values[0] if values else 0.0


def soaked(run_dir: Path, overrides: list[str], draws: random.Random | None) -> Soaked:
    """Do the run, with faults if there are `draws`, and return what it did. Exits if the run fails."""
    mark, result, shared_before = Mark(), Soaked(), set(os.listdir(SHARED_MEMORY))
    command = demo_command([*overrides, f"run_dir={run_dir}"])
    grpo = load(DEMO, overrides, Experiment).grpo
    assert grpo.steps is not None
    output = run_dir.with_suffix(".log")
    directory, started = RunDirectory(run_dir), time.monotonic()
    with output.open("wb") as log, started_run(command, own_environment() | mark.environment, log) as run:
        driver = psutil.Process(run.pid)
        waiting: list[tuple[str, float, int]] = []
        next_fault, until = None, 0.0
        while run.poll() is None:
            time.sleep(0.2)
            now, logged = time.monotonic(), len(_grpo_rows(directory))
            for name, at, before in waiting:
                if logged > before:
                    result.recovery_s.setdefault(name, []).append(now - at)
            waiting = [one for one in waiting if logged <= one[2]]
            is_training = bool(mark.actors("LearnerRank"))  # called each time, so that it knows the actors
            if draws is None or not is_training:
                continue
            if next_fault is None:
                next_fault, until = now + EVERY_S, now + FOR_S
            if next_fault <= now < until and (fault := _strike(mark, draws)) is not None:
                next_fault = now + EVERY_S
                waiting.append((fault, now, logged))
                result.faults[fault] += 1
                result.descriptors.append(driver.num_fds())
                result.memory_mib.append(driver.memory_info().rss / 2**20)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {run.returncode}:\n{output.read_text(errors='replace')[-6000:]}")
    result.seconds = time.monotonic() - started
    rows = [row["metrics"] for row in _grpo_rows(directory)]
    answers = grpo.prompts_per_step * grpo.group_size
    result.again = sum(row["rollout/groups_again"] for row in rows)
    result.excluded = sum((1 - row["rollout/trainable_share"]) * answers for row in rows)
    result.repeated = len(rows) - grpo.steps
    final = [
        row for row in directory.read_jsonl("evaluations.jsonl") if (row["name"], row["policy"]) == ("final", "relay")
    ]
    result.accuracy = {str(row["kind"]): float(str(row["accuracy"])) for row in final}
    result.left = _left_behind(mark, shared_before)
    return result


@contextmanager
def started_run(command: list[str], environment: dict[str, str], log: BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
    """Start the run, and stop it in order if the block ends earlier than it."""
    run = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield run
    finally:
        if run.poll() is None:
            run.send_signal(signal.SIGINT)
        run.wait()


def _strike(mark: Mark, draws: random.Random) -> str | None:
    """Do a drawn fault and return its name; None if there is no such actor at the moment."""
    name = draws.choice(list(FAULTS))
    role, number = FAULTS[name]
    actors = mark.actors(role)
    if not actors:
        return None
    victim = draws.choice(actors)
    try:
        os.kill(victim, number)
        if number == signal.SIGSTOP:
            time.sleep(STOPPED_S)
            os.kill(victim, signal.SIGCONT)
    except ProcessLookupError:  # it has ended meanwhile
        return None
    return name


def _left_behind(mark: Mark, shared_before: set[str]) -> list[str]:
    """Return the processes of the run that do not end within a minute, and new shared memory."""
    until = time.monotonic() + 60
    while mark.processes() and time.monotonic() < until:
        time.sleep(0.5)
    processes = [f"process {pid}: {command}" for pid, command in mark.processes().items()]
    return processes + [f"shared memory {name}" for name in sorted(set(os.listdir(SHARED_MEMORY)) - shared_before)]


def _grpo_rows(directory: RunDirectory) -> list[dict[str, Any]]:
    return [row for row in directory.read_jsonl("metrics.jsonl") if row["stage"] == "grpo"]


if __name__ == "__main__":
    main()
