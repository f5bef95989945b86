"""What is the throughput of one teacher for 1, 2 and 4 rollout workers, and does each worker get a fair share?

The students are not computed. They write at a fixed pace, as if on devices of their own; otherwise they would take the teacher's
cores. Everything else is as in a run: one actor with the relay loop for each worker, and one teacher actor.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any

from actors.engines.base import Engine, Generation, GenerationRequest, OnTokens
from actors.engines.remote import RemoteEngine
from actors.engines.vllm import EngineLoad
from actors.relay.grammar import CommandGrammar
from actors.relay.loop import relay
from actors.settings import EngineSettings
from benchmarks._planned_answers import Lengths, sequences
from benchmarks._relay_actors import PLAIN_IDS, START_S, PlannedTeacher, local_ray, start, write_model
from benchmarks._schedules import Instant
from benchmarks.harness import RUNS, Row, arguments, report
from benchmarks.relay import BLOCK, STEPS
from cluster.devices import Device
from tests.scripted import PieceTokenizer

if TYPE_CHECKING:
    from ray.actor import ActorHandle

WORKERS = (1, 2, 4)
SLOTS = 16
"""sequences that the teacher decodes at the same time"""
IN_FLIGHT = 16
"""answers that a worker decodes at the same time"""
STUDENT_S_PER_TOKEN = 0.002
WINDOW_S = 4.0
LENGTHS = Lengths(10, 7, longest=80)
PIECES = ["<call>", "</call>", " ", *"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]
"""token texts of the workers' tokenizer, one for each id that the teacher may write"""


class Metered:
    """An engine that counts the tokens of the turns that end before `ends` (a time of `perf_counter`)."""

    def __init__(self, engine: Engine, ends: float) -> None:
        self._engine = engine
        self._ends = ends
        self.tokens = 0

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return the wrapped engine's turn."""
        generation = await self._engine.generate(request, on_tokens)
        if perf_counter() < self._ends:
            self.tokens += len(generation.token_ids)
        return generation


class PacedWorker:
    """A rollout worker whose student takes a fixed time for each token."""

    def __init__(self, teacher: str) -> None:
        """Connect to the teacher actor with the name `teacher`."""
        import ray

        self._teacher = RemoteEngine(ray.get_actor(teacher))
        self._student = Instant(PLAIN_IDS[0], STUDENT_S_PER_TOKEN)
        self._grammar = CommandGrammar(PieceTokenizer(PIECES))

    async def serve(self, seed: int, window_s: float) -> int:
        """Decode answers for `window_s` seconds, IN_FLIGHT at a time; return the tokens that the teacher wrote in that time."""
        random = Random(seed)
        ends = perf_counter() + window_s
        teacher = Metered(self._teacher, ends)

        async def one_after_the_other() -> None:
            while perf_counter() < ends:
                (answer,) = sequences([LENGTHS.draw(random)], self._grammar, LENGTHS, PLAIN_IDS, random.getrandbits(32))
                await relay(answer, self._student, teacher)

        await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)))
        return teacher.tokens


@dataclass(frozen=True, slots=True)
class Window:
    """The measurements of some workers and their teacher over the same time."""

    teacher_tokens: Sequence[int]
    """tokens that the teacher wrote for each worker"""
    wall_s: float
    steps: int
    """steps of the teacher's engine"""
    generated_tokens: int
    """tokens that the teacher's engine wrote"""
    busy_s: float
    """time inside the steps of the teacher's engine"""

    @property
    def tokens_per_s(self) -> float:
        return self.generated_tokens / self.wall_s

    @property
    def occupancy_percent(self) -> float:
        """Percentage of the teacher's slots in use, on average over its steps."""
        return 100 * self.generated_tokens / (self.steps * SLOTS)

    @property
    def busy_percent(self) -> float:
        return 100 * self.busy_s / self.wall_s

    @property
    def least_share(self) -> float:
        """Tokens of the slowest worker / mean tokens of a worker."""
        return min(self.teacher_tokens) * len(self.teacher_tokens) / max(sum(self.teacher_tokens), 1)


def observe(teacher: ActorHandle[Any], workers: Sequence[ActorHandle[Any]], seed: int, window_s: float) -> Window:
    """Let the workers decode for `window_s` seconds; return the measurements."""
    import ray

    before: EngineLoad = ray.get(teacher.load.remote())
    started = perf_counter()
    tokens = ray.get(
        [worker.serve.remote(100 * seed + i, window_s) for i, worker in enumerate(workers)], timeout=START_S
    )
    wall_s = perf_counter() - started
    after: EngineLoad = ray.get(teacher.load.remote())
    return Window(
        tokens,
        wall_s,
        after.steps - before.steps,
        after.generated_tokens - before.generated_tokens,
        after.busy_s - before.busy_s,
    )


def rows(windows: dict[int, list[Window]]) -> list[Row]:
    """Return the rows for each number of workers. The throughput with one worker is the baseline."""
    found: list[Row] = []
    one = [window.tokens_per_s for window in windows[1]]
    for count, seen in windows.items():
        name = f"{count} worker{'s' if count > 1 else ''}"
        rates = [window.tokens_per_s for window in seen]
        ratios = [] if count == 1 else [rate / base for rate, base in zip(rates, one, strict=True)]
        found.append(Row(f"{name}: teacher", "tokens/s", rates, ratios, "1 worker" if ratios else ""))
        found.append(Row(f"{name}: teacher's slots in use", "%", [window.occupancy_percent for window in seen]))
        found.append(Row(f"{name}: teacher busy", "%", [window.busy_percent for window in seen]))
        if count > 1:
            found.append(Row(f"{name}: slowest worker / mean", "x", [window.least_share for window in seen]))
    return found


def main() -> None:
    import ray

    options = arguments(__doc__).parse_args()
    runs, window_s = (1, 1.0) if options.quick else (RUNS, WINDOW_S)
    engine = EngineSettings(dtype="float32", max_model_len=LENGTHS.context, max_num_seqs=SLOTS, block_size=BLOCK)
    windows: dict[int, list[Window]] = {count: [] for count in WORKERS}
    with local_ray(), tempfile.TemporaryDirectory() as folder:
        teacher = start(PlannedTeacher, "teacher", write_model(Path(folder), STEPS.teacher), engine, Device.CPU, 0)
        ray.get(teacher.ready.remote(), timeout=START_S)
        workers = [start(PacedWorker, f"worker-{i}", "teacher") for i in range(max(WORKERS))]
        for turn in range(-1, runs):
            for count in WORKERS if turn % 2 == 0 else reversed(WORKERS):
                window = observe(teacher, workers[:count], turn + 2, window_s)
                if turn >= 0:
                    windows[count].append(window)
    notes = [
        f"a teacher with {SLOTS} slots; {IN_FLIGHT} answers in flight for each worker; windows of {window_s:g} s",
        f"students that write a token in {1000 * STUDENT_S_PER_TOKEN:g} ms instead of computing it",
        "0 to 5 calls in an answer, of log-normal lengths",
    ]
    report("teacher_sharing", rows(windows), options, notes)


if __name__ == "__main__":
    main()
