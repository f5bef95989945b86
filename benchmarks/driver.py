"""How much time does the driver itself take for each trajectory, and how does that grow with workers and trajectories?

Engines, learner and reward actor are stand-ins that answer at once.
"""

from __future__ import annotations

import gc
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from actors.rollout import Policy
from actors.settings import RelayLimits, SamplingSettings
from actors.tiny_models import TinyModelSettings, write_config, write_tokenizer
from benchmarks._stand_ins import Answers, StandInReward, StandInWorker, graded_group, stand_in_actors
from benchmarks.harness import RUNS, Goal, Row, arguments, paired, report
from cluster.session import ray_session
from pipelines.data.problem import Problem
from pipelines.data.prompts import PromptBuilder
from pipelines.records.reward_metrics import summarise
from pipelines.rollout.decode_and_grade import DecodingActors, RolloutDecoding, decode_and_grade

GROUP = 8
IN_FLIGHT = 512
"""sequences in flight on one worker, as in the default experiment"""
WORKERS, TRAJECTORIES = (2, 16, 64, 256), (1_000, 10_000, 100_000)
PER_TRAJECTORY = Goal("value", "<=", 100.0)
LINEAR = Goal("ratio", "<=", 1.2)
DECODING = RolloutDecoding(
    Policy.RELAY, GROUP, RelayLimits(), SamplingSettings(), SamplingSettings(), "benchmark", want_logprobs=True
)


def step(actors: DecodingActors, problems: list[Problem]) -> None:
    """Do the driver's work of one GRPO step: send orders, collect results, make the learner's columns, compute metrics."""
    groups = list(decode_and_grade(actors, problems, DECODING))
    graded = [group.graded for group in groups]
    advantages = np.concatenate([columns.advantage for columns in graded])
    trainable = np.concatenate([columns.trainable for columns in graded])
    rows = np.array_split(np.arange(len(groups) * GROUP).reshape(len(groups), GROUP), 4)
    assert len(advantages) == len(trainable) == sum(part.size for part in rows) == len(problems) * GROUP
    summarise(graded)


def problems_of(trajectories: int) -> list[Problem]:
    return [Problem(f"{i % 9}+{i // 9 % 9}*{i // 81 % 9}=?", "7", "known") for i in range(trajectories // GROUP)]


@contextmanager
def local(prompts: PromptBuilder, workers: int) -> Iterator[tuple[DecodingActors, Answers]]:
    """Yield `workers` stand-ins in this process, with a reward actor, and the object that ends their calls."""
    answers = Answers(capacity=workers * (IN_FLIGHT // GROUP))
    thread = threading.Thread(target=answers.run, daemon=True)
    thread.start()
    stand_ins = [StandInWorker() for _ in range(workers)]
    try:
        yield stand_in_actors(prompts, stand_ins, StandInReward(answers, GROUP), IN_FLIGHT), answers
    finally:
        answers.close()
        thread.join()


def microseconds(prompts: PromptBuilder, workers: int, trajectories: int) -> float:
    """Return the driver's time for each trajectory of a step, in microseconds."""
    problems = problems_of(trajectories)
    with local(prompts, workers) as (actors, answers):
        answers.expect(len(problems))
        gc.collect()
        started = time.perf_counter()
        step(actors, problems)
        return (time.perf_counter() - started) / (len(problems) * GROUP) * 1e6


def scaling(prompts: PromptBuilder, quick: bool) -> list[Row]:
    """Return the rows for several numbers of workers, and for several numbers of trajectories."""
    workers, trajectories = (WORKERS[:2], TRAJECTORIES[:2]) if quick else (WORKERS, TRAJECTORIES)
    rows: list[Row] = []
    for names in (
        {f"{count} workers, {trajectories[1]} trajectories": (count, trajectories[1]) for count in workers},
        {f"16 workers, {count} trajectories a step": (16, count) for count in trajectories},
    ):
        contestants = {name: lambda sizes=sizes: microseconds(prompts, *sizes) for name, sizes in names.items()}
        first, *others = contestants
        goals = {first: PER_TRAJECTORY} | dict.fromkeys(others, LINEAR)
        rows += paired(contestants, unit="µs", runs=2 if quick else RUNS, goals=goals)
    return rows


def growth(prompts: PromptBuilder, trajectories: int, steps: int) -> Row:
    """Return a row with the growth of the driver's memory from the third to the last of `steps` steps."""
    problems, sizes = problems_of(trajectories), []
    with local(prompts, 16) as (actors, answers):
        for _ in range(steps):
            answers.expect(len(problems))
            step(actors, problems)
            gc.collect()
            sizes.append(_resident_bytes())
    name = f"growth of the driver over {steps - 3} steps of {trajectories} trajectories"
    return Row(name, "MB", [(sizes[-1] - sizes[2]) / 1e6], goal=Goal("value", "<=", 5.0))


class RemoteWorker:
    """A real Ray actor that replaces a rollout worker and does nothing."""

    def rollout(self, order: object) -> int:
        return 0


class RemoteReward:
    """A real Ray actor that replaces the reward actor and does nothing."""

    def __init__(self) -> None:
        self._graded = graded_group(GROUP)

    def grade_groups(self, batch: object, golds: object, samples: int, forms: object, longest: int) -> Any:
        return self._graded


def over_ray(prompts: PromptBuilder, trajectories: int, runs: int) -> Row:
    """Return a row with the time for each trajectory if the stand-ins are real Ray actors on this machine's cores."""
    import ray

    problems = problems_of(trajectories)
    with ray_session("driver-benchmark", None, 3, 0):
        workers = [ray.remote(RemoteWorker).options(num_cpus=0).remote() for _ in range(2)]
        actors = stand_in_actors(prompts, workers, ray.remote(RemoteReward).options(num_cpus=0).remote(), IN_FLIGHT)
        values = []
        for _ in range(runs + 1):
            started = time.perf_counter()
            step(actors, problems)
            values.append((time.perf_counter() - started) / (len(problems) * GROUP) * 1e6)
    return Row(f"2 Ray actors that do nothing, {trajectories} trajectories", "µs", values[1:])


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--without-ray", action="store_true", help="leave out the row with real actors")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder), "text")
        write_config(Path(folder), TinyModelSettings())
        prompts = PromptBuilder(folder, folder, "")
        rows = scaling(prompts, options.quick)
        rows.append(growth(prompts, 1_000 if options.quick else 10_000, 8))
        if not options.without_ray:
            rows.append(over_ray(prompts, 800 if options.quick else 4_000, 1 if options.quick else 3))
    notes = [
        f"Groups of {GROUP}, one in each order; up to {IN_FLIGHT} sequences in flight on a worker. Microseconds of wall time "
        "for each trajectory of a step: prompts, orders, collecting, columns for the learner, metrics.",
        "Workers and reward actor are objects in the driver's process, because 256 actors do not fit on this machine. Only the "
        "last row has real actors.",
    ]
    report("driver", rows, options, notes)


if __name__ == "__main__":
    main()
