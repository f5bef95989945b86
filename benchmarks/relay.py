"""Is relay decoding faster than lock-step decoding, and how close is it to the least time that the engines need?

Both schedules decode the same planned turns with the same engines: a rollout worker and a teacher actor, as in a run. The
floor is the longest of three times: the student's engine alone, the teacher's engine alone, and the turns of the longest answer
one after the other. No schedule can be faster than the floor, so lock-step / floor is the largest possible gain. It is
less than 2 if both engines take time in proportion to their tokens, unless lock-step leaves slots empty.

If relay decoding is slower than its floor, the figures of the student's engine show why. It may take more steps than alone,
because slots were empty. Its steps may be slower, because it shares cores, caches and memory with the teacher's engine and with
the communication between the two. Or there may be time between its steps. One row runs both engines at the same time, each
with its own turns and without communication: it shows how much of the loss is due to sharing the machine.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from actors.settings import EngineSettings
from actors.tiny_models import TinyModelSettings
from benchmarks._planned_answers import AnswerPlan, Lengths
from benchmarks._relay_actors import Played, Schedule, Spent, local_ray, pair, write_model
from benchmarks.harness import RUNS, Goal, Row, arguments, paired, report

if TYPE_CHECKING:
    from ray.actor import ActorHandle

BLOCK = 32
"""tokens of a prefix-cache block, the smallest size that vLLM's CPU attention supports"""
DEADLINE_S = 120.0
OVERHEAD = Goal("value", "<=", 1.15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Two models, their engines, and the lengths of the turns."""

    student: TinyModelSettings
    teacher: TinyModelSettings
    slots: int
    """sequences that the student's engine decodes at the same time; the teacher's engine decodes twice as many"""
    lengths: Lengths

    def engine(self, slots: int) -> EngineSettings:
        return EngineSettings(dtype="float32", max_model_len=self.lengths.context, max_num_seqs=slots, block_size=BLOCK)


@dataclass(frozen=True, slots=True)
class Regime:
    name: str
    scale: Scale
    answers: int
    goal: Goal
    """goal for relay decoding's throughput relative to lock-step"""


def _small(layers: int) -> TinyModelSettings:
    return TinyModelSettings(hidden_size=96, layers=layers, heads=4, intermediate_size=288, max_position=4096)


def _large(layers: int) -> TinyModelSettings:
    """Return the shape of a model with 5.3 million parameters in each layer."""
    return TinyModelSettings(
        hidden_size=640, layers=layers, heads=10, head_dim=64, intermediate_size=1920, max_position=4096
    )


STEPS = Scale(student=_small(2), teacher=_small(3), slots=16, lengths=Lengths(32, 16, longest=320))
"""the demo's models; a decode step has a fixed cost, and each sequence adds little"""
SHORT_TURNS = replace(STEPS, lengths=Lengths(8, 6, longest=60))
"""answers of 56 tokens, so that communication between the engines matters four times as much"""
TOKENS = Scale(student=_large(10), teacher=_large(10), slots=16, lengths=Lengths(6, 5, longest=30, sigma=0.8))
"""models of 53 million parameters; the time of a step grows with its tokens"""
REGIMES = (
    Regime("slots", STEPS, 16, Goal("ratio", ">=", 1.0)),
    Regime("8 x slots", STEPS, 128, Goal("ratio", ">=", 2.0)),
    Regime("8 x slots, short turns", SHORT_TURNS, 128, Goal("ratio", ">=", 2.0)),
    Regime("large student", TOKENS, 48, Goal("ratio", ">=", 2.0)),
)


@dataclass(frozen=True, slots=True)
class Relayed:
    """The measurements of relay decoding of all answers, and what both actors spent on it."""

    played: Played
    student: Spent
    teacher: Spent

    @property
    def between_steps(self) -> float:
        """Share of the time, in [0, 1], in which the student's engine ran no step."""
        return 1 - self.student.busy_s / self.played.wall_s

    @property
    def cores(self) -> float:
        """Mean number of cores that both processes together kept busy."""
        return (self.student.cpu_s + self.teacher.cpu_s) / self.played.wall_s


class Players:
    """One worker and its teacher, with the plans of one regime. Its methods decode these plans in different ways."""

    def __init__(self, worker: ActorHandle[Any], teacher: ActorHandle[Any], lengths: Lengths, answers: int) -> None:
        random = Random(7)
        self._worker, self._teacher, self._lengths = worker, teacher, lengths
        self._plans = [lengths.draw(random) for _ in range(answers)]
        self._longest = [max(self._plans, key=lambda plan: plan.tokens)]
        self._seeds = count()

    @property
    def tokens(self) -> int:
        """Tokens of all answers together."""
        return sum(plan.tokens for plan in self._plans)

    @property
    def teacher_tokens(self) -> int:
        return sum(sum(plan.teacher) for plan in self._plans)

    def lock_step(self) -> float:
        """Return the seconds of decoding all answers in lock-step."""
        return self._play(self._worker, self._plans, "lock_step").wall_s

    def relay(self) -> Relayed:
        before = self._spent()
        played = self._play(self._worker, self._plans, "relay")
        student, teacher = (after - then for after, then in zip(self._spent(), before, strict=True))
        return Relayed(played, student, teacher)

    def student_alone(self) -> tuple[float, Spent]:
        before, _ = self._spent()
        wall_s = self._play(self._worker, self._plans, "alone").wall_s
        return wall_s, self._spent()[0] - before

    def teacher_alone(self) -> float:
        return self._play(self._teacher, self._plans).wall_s

    def side_by_side(self) -> float:
        """Return the seconds of the slower engine if both decode their own turns at the same time, without waiting for the other."""
        both = [self._begin(self._worker, self._plans, "alone"), self._begin(self._teacher, self._plans)]
        return max(played.wall_s for played in self._ended(both))

    def warm_up(self) -> None:
        """Decode some answers with both engines, so that no measured run is the first one."""
        for _ in range(2):
            self._play(self._worker, self._plans[:4], "relay")
            self._play(self._teacher, self._plans[:4])

    def longest_answer(self) -> float:
        """Return the seconds of the longest answer's turns one after the other, without communication between the engines."""
        student = self._play(self._worker, self._longest, "alone")
        return student.wall_s + self._play(self._teacher, self._longest).wall_s

    def _spent(self) -> list[Spent]:
        return self._ended([self._worker.spent.remote(), self._teacher.spent.remote()])

    def _play(self, actor: ActorHandle[Any], plans: list[AnswerPlan], *schedule: Schedule) -> Played:
        played: Played = self._ended([self._begin(actor, plans, *schedule)])[0]
        return played

    def _begin(self, actor: ActorHandle[Any], plans: list[AnswerPlan], *schedule: Schedule) -> Any:
        return actor.play.remote(plans, self._lengths, next(self._seeds), *schedule)

    def _ended(self, calls: list[Any]) -> list[Any]:
        import ray

        results: list[Any] = ray.get(calls, timeout=DEADLINE_S)
        return results


def measure(regime: Regime, players: Players, runs: int) -> list[Row]:
    """Return the rows of one regime."""
    relays: list[Relayed] = []
    alone: list[Spent] = []
    players.warm_up()
    longest_s = players.longest_answer()

    def relay() -> float:
        relays.append(players.relay())
        return relays[-1].played.wall_s

    def student_alone() -> float:
        wall_s, spent = players.student_alone()
        alone.append(spent)
        return wall_s

    timings = paired(
        {
            "lock-step": players.lock_step,
            "relay": relay,
            "student alone": student_alone,
            "teacher alone": players.teacher_alone,
            "both alone, side by side": players.side_by_side,
        },
        runs=runs,
        warmups=0,
    )
    lock_step, relayed, student, teacher, both = (row.values for row in timings)
    floor = [max(*parts, longest_s) for parts in zip(student, teacher, strict=True)]

    def row(name: str, unit: str, values: Sequence[float], **more: Any) -> Row:
        return Row(f"{regime.name}: {name}", unit, values, **more)

    return [
        row("lock-step", "tokens/s", [players.tokens / s for s in lock_step]),
        row(
            "relay",
            "tokens/s",
            [players.tokens / s for s in relayed],
            ratios=_over(lock_step, relayed),
            baseline=f"{regime.name}: lock-step",
            goal=regime.goal,
        ),
        *(row(timing.name, "s", timing.values) for timing in timings[2:]),
        row("longest answer", "s", [longest_s]),
        row("lock-step / floor", "x", _over(lock_step, floor)),
        row("relay / floor", "x", _over(relayed, floor), goal=OVERHEAD),
        row("both alone, side by side / floor", "x", [max(s, longest_s) / f for s, f in zip(both, floor, strict=True)]),
        row(
            "student's steps in relay / alone", "x", _over([r.student.steps for r in relays], [a.steps for a in alone])
        ),
        row(
            "a student's step in relay / alone",
            "x",
            _over([r.student.step_s for r in relays], [a.step_s for a in alone]),
        ),
        row("student's engine between steps, in relay", "%", [100 * r.between_steps for r in relays]),
        row("teacher's engine in steps, in relay", "%", [100 * r.teacher.busy_s / r.played.wall_s for r in relays]),
        row("cores in use in relay", "cores", [r.cores for r in relays]),
        row("student's prefix-cache hits", "%", [_percent(r.played.student_back) for r in relays]),
        row("teacher's prefix-cache hits", "%", [_percent(r.played.teacher_back) for r in relays]),
    ]


def _over(values: Sequence[float], baseline: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(values, baseline, strict=True)]


def _percent(back: tuple[int, int]) -> float:
    prompt, cached = back
    return 100 * cached / max(prompt, 1)


@contextmanager
def playing(scale: Scale, folder: Path) -> Iterator[tuple[ActorHandle[Any], ActorHandle[Any]]]:
    """Start the worker and the teacher of a scale, with models written under `folder`, and yield both."""
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
        f"engines with one thread each, float32, prefix-cache blocks of {BLOCK} tokens, with log-probs and search for commands",
        "prefix-cache hits: share of the prompt tokens of turns after a call",
    ]
    with local_ray():
        for scale in (STEPS, SHORT_TURNS, TOKENS):
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
