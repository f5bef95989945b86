"""Is relay decoding faster than decoding in lock-step, and how far is it from what the engines themselves need?

Both schedules decode the same planned turns with the same engines: a rollout worker and a teacher actor, as in a run.
The floor of relay decoding is the longest of three: the student's engine by itself, the teacher's engine by itself, and
the turns of the longest answer one after the other. No schedule is faster, so lock-step / floor is the most that there is
to be won: less than 2 where both engines cost by the token, unless lock-step leaves slots empty.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from actors.settings import EngineSettings
from actors.tiny_models import TinyModelSettings
from benchmarks._plans import AnswerPlan, Lengths
from benchmarks._relay_actors import Played, Schedule, local_ray, pair, write_model
from benchmarks.harness import RUNS, Goal, Row, arguments, paired, report

if TYPE_CHECKING:
    from ray.actor import ActorHandle

BLOCK = 32
"""tokens of a prefix-cache block: the least that vLLM's CPU attention takes"""
DEADLINE_S = 120.0
OVERHEAD = Goal("value", "<=", 1.15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Two models, their engines, and how long the turns are."""

    student: TinyModelSettings
    teacher: TinyModelSettings
    slots: int
    """sequences that the student's engine decodes at the same time; the teacher's takes twice as many"""
    lengths: Lengths

    def engine(self, slots: int) -> EngineSettings:
        return EngineSettings(dtype="float32", max_model_len=self.lengths.context, max_num_seqs=slots, block_size=BLOCK)


@dataclass(frozen=True, slots=True)
class Regime:
    name: str
    scale: Scale
    answers: int
    goal: Goal
    """of the throughput, relative to lock-step"""


def _small(layers: int) -> TinyModelSettings:
    return TinyModelSettings(hidden_size=96, layers=layers, heads=4, intermediate_size=288, max_position=4096)


def _large(layers: int) -> TinyModelSettings:
    """A model of 5.3 million parameters a layer."""
    return TinyModelSettings(
        hidden_size=640, layers=layers, heads=10, head_dim=64, intermediate_size=1920, max_position=4096
    )


STEPS = Scale(student=_small(2), teacher=_small(3), slots=16, lengths=Lengths(8, 6, longest=60))
"""the demo's models: a decode step costs the same, whether it is for one sequence or for some"""
TOKENS = Scale(student=_large(10), teacher=_large(10), slots=16, lengths=Lengths(6, 5, longest=30, sigma=0.8))
"""53 million parameters: a step costs by the token"""
REGIMES = (
    Regime("slots", STEPS, 16, Goal("ratio", ">=", 1.0)),
    Regime("8 x slots", STEPS, 128, Goal("ratio", ">=", 2.0)),
    Regime("large student", TOKENS, 24, Goal("ratio", ">=", 2.0)),
)


class Players:
    """One worker and its teacher, and the plans of one regime."""

    def __init__(self, worker: ActorHandle[Any], teacher: ActorHandle[Any], lengths: Lengths, answers: int) -> None:
        random = Random(7)
        self._worker, self._teacher, self._lengths = worker, teacher, lengths
        self._plans = [lengths.draw(random) for _ in range(answers)]
        self._longest = [max(self._plans, key=lambda plan: plan.tokens)]
        self._seeds = count()
        self.last: Played
        """of the last `scheduled`"""

    @property
    def tokens(self) -> int:
        """Of all answers together."""
        return sum(plan.tokens for plan in self._plans)

    @property
    def teacher_tokens(self) -> int:
        return sum(sum(plan.teacher) for plan in self._plans)

    def scheduled(self, schedule: Schedule) -> float:
        """Decode all answers with both engines; return the seconds that it took."""
        self.last = self._play(self._worker, self._plans, schedule)
        return self.last.wall_s

    def student_alone(self) -> float:
        return self._play(self._worker, self._plans, "alone").wall_s

    def teacher_alone(self) -> float:
        return self._play(self._teacher, self._plans).wall_s

    def warm_up(self) -> None:
        """Decode some answers with both engines, so that no run is the first."""
        for _ in range(2):
            self._play(self._worker, self._plans[:4], "relay")
            self._play(self._teacher, self._plans[:4])

    def longest_answer(self) -> float:
        """The seconds of the longest answer's turns, without a way between the engines."""
        student = self._play(self._worker, self._longest, "alone")
        return student.wall_s + self._play(self._teacher, self._longest).wall_s

    def _play(self, actor: ActorHandle[Any], plans: list[AnswerPlan], *schedule: Schedule) -> Played:
        import ray

        played: Played = ray.get(
            actor.play.remote(plans, self._lengths, next(self._seeds), *schedule), timeout=DEADLINE_S
        )
        return played


def measure(regime: Regime, players: Players, runs: int) -> list[Row]:
    """Return the rows of one regime."""
    back: list[Played] = []
    players.warm_up()
    longest_s = players.longest_answer()

    def relay() -> float:
        seconds = players.scheduled("relay")
        back.append(players.last)
        return seconds

    timings = paired(
        {
            "lock-step": lambda: players.scheduled("lock_step"),
            "relay": relay,
            "student alone": players.student_alone,
            "teacher alone": players.teacher_alone,
        },
        runs=runs,
        warmups=0,
    )
    lock_step, relayed, *floors = (row.values for row in timings)
    floor = [max(*parts, longest_s) for parts in zip(*floors, strict=True)]
    base = f"{regime.name}: lock-step"
    return [
        Row(base, "tokens/s", [players.tokens / s for s in lock_step]),
        Row(
            f"{regime.name}: relay",
            "tokens/s",
            [players.tokens / s for s in relayed],
            [slow / fast for slow, fast in zip(lock_step, relayed, strict=True)],
            base,
            regime.goal,
        ),
        *(Row(f"{regime.name}: {row.name}", "s", row.values) for row in timings[2:]),
        Row(f"{regime.name}: longest answer", "s", [longest_s]),
        Row(f"{regime.name}: lock-step / floor", "x", [a / b for a, b in zip(lock_step, floor, strict=True)]),
        Row(f"{regime.name}: relay / floor", "x", [a / b for a, b in zip(relayed, floor, strict=True)], goal=OVERHEAD),
        Row(f"{regime.name}: student's prefix-cache hits", "%", [_percent(p.student_back) for p in back]),
        Row(f"{regime.name}: teacher's prefix-cache hits", "%", [_percent(p.teacher_back) for p in back]),
    ]


def _percent(back: tuple[int, int]) -> float:
    prompt, cached = back
    return 100 * cached / max(prompt, 1)


@contextmanager
def playing(scale: Scale, folder: Path) -> Iterator[tuple[ActorHandle[Any], ActorHandle[Any]]]:
    """Start the worker and the teacher of a scale, with models written under `folder`."""
    student = write_model(folder / "student", scale.student)
    teacher = write_model(folder / "teacher", scale.teacher)
    with pair(student, teacher, scale.engine(scale.slots), scale.engine(2 * scale.slots)) as actors:
        yield actors


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--regimes", nargs="*", choices=[regime.name for regime in REGIMES], help="all by default")
    options: argparse.Namespace = parser.parse_args()
    runs, share = (1, 4) if options.quick else (RUNS, 1)
    rows: list[Row] = []
    notes = [
        "0 to 5 calls an answer, 1.8 on average; turns of log-normal lengths; the same turns for both schedules",
        f"engines with one thread each, float32, prefix-cache blocks of {BLOCK} tokens, log-probs and a watch for commands on",
        "prefix-cache hits: of the tokens of prompts that come back to an engine after a call",
    ]
    with local_ray():
        for scale in (STEPS, TOKENS):
            regimes = [r for r in REGIMES if r.scale is scale and r.name in (options.regimes or [r.name])]
            if not regimes:
                continue
            with tempfile.TemporaryDirectory() as folder, playing(scale, Path(folder)) as (worker, teacher):
                for regime in regimes:
                    answers = regime.answers // share
                    players = Players(worker, teacher, scale.lengths, answers)
                    rows += measure(regime, players, runs)
                    notes.append(
                        f"{regime.name}: {answers} answers on {scale.slots} slots, {players.tokens} tokens, "
                        f"of which the teacher wrote {players.teacher_tokens}"
                    )
    report("relay", rows, options, notes)


if __name__ == "__main__":
    main()
