"""A discrete-event simulation of GRPO steps: rollout workers, shared teachers, grading, learner and weight sync."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean

import simpy

from pipelines.planner.engine import Engine, least_busy
from pipelines.planner.rates import Rates
from pipelines.planner.shapes import Shape

_BUSY = 0.75
"""share of the rollout in which a role works, from which on the rollout waits for it"""


@dataclass(frozen=True, slots=True)
class Layout:
    """How many actors of each kind a run has, and how much one step is."""

    workers: int
    teachers: int
    ranks: int
    prompts: int
    group_size: int
    mini_batches: int
    grading_workers: int = 2
    async_depth: int = 0
    student_sequences: int = 256
    """most sequences in one student engine at the same time"""
    teacher_sequences: int = 256


@dataclass(frozen=True, slots=True)
class Predicted:
    """What one step takes, on average, in seconds of wall time; and which share of a step each role is busy."""

    step_s: float
    rollout_s: float
    learn_s: float
    sync_s: float
    student_busy: float
    teacher_busy: float
    learner_busy: float
    tokens: float
    """packed tokens of a step"""

    @property
    def bottleneck(self) -> str:
        """What a step waits for most."""
        if self.learn_s + self.sync_s > self.rollout_s:
            return "the learner" if self.learn_s > self.sync_s else "weight sync"
        in_rollout = self.step_s / self.rollout_s
        if self.teacher_busy * in_rollout > _BUSY:
            return "the teacher"
        return "the rollout engines" if self.student_busy * in_rollout > _BUSY else "the longest answers of a step"


def simulate(layout: Layout, rates: Rates, shapes: Sequence[Shape], steps: int = 4, seed: int = 0) -> Predicted:
    """Return the averages over `steps` simulated steps, whose answers are drawn from `shapes`."""
    return _Run(layout, rates, shapes, seed).averages(steps)


def learn_seconds(layout: Layout, rates: Rates, answers: Sequence[Shape]) -> float:
    """Return the learner's time for a step. Answers are never split, so a rank takes at least as long as the longest one."""
    parts = [answers[i :: layout.mini_batches] for i in range(layout.mini_batches)]
    whole = [
        max(sum(one.tokens for one in part) / layout.ranks, max(one.tokens for one in part)) for part in parts if part
    ]
    return sum(whole) * rates.learner.token_s + len(whole) * rates.learner.exchange_s


class _Run:
    def __init__(self, layout: Layout, rates: Rates, shapes: Sequence[Shape], seed: int) -> None:
        self._layout, self._rates, self._shapes, self._random = layout, rates, shapes, Random(seed)
        self._now = simpy.Environment()
        self._students = [Engine(self._now, rates.student, layout.student_sequences) for _ in range(layout.workers)]
        self._teachers = [Engine(self._now, rates.teacher, layout.teacher_sequences) for _ in range(layout.teachers)]
        self._in_flight = [0] * layout.workers
        self._grading = simpy.Resource(self._now, layout.grading_workers)

    def averages(self, steps: int) -> Predicted:
        rolled: list[float] = []
        learned: list[float] = []
        tokens: list[int] = []
        self._now.run(self._now.process(self._steps(steps, rolled, learned, tokens)))
        total = self._now.now
        busy = [
            sum(engine.busy_s for engine in role) / max(len(role), 1) / total
            for role in (self._students, self._teachers)
        ]
        return Predicted(
            step_s=total / steps,
            rollout_s=fmean(rolled),
            learn_s=fmean(learned),
            sync_s=self._rates.sync_s,
            student_busy=busy[0],
            teacher_busy=busy[1],
            learner_busy=sum(learned) / total,
            tokens=fmean(tokens),
        )

    def _steps(self, steps: int, rolled: list[float], learned: list[float], tokens: list[int]):  # type: ignore[no-untyped-def]
        ahead = None
        for step in range(steps):
            answers = yield (ahead or self._now.process(self._roll_out(rolled)))
            seconds = learn_seconds(self._layout, self._rates, answers)
            learned.append(seconds)
            tokens.append(sum(answer.tokens for answer in answers))
            learning = self._now.timeout(seconds)
            ahead = None
            if self._layout.async_depth and step + 1 < steps:
                ahead = self._now.process(self._roll_out(rolled))
                yield learning & ahead
            else:
                yield learning
            yield self._now.timeout(self._rates.sync_s)

    def _roll_out(self, rolled: list[float]):  # type: ignore[no-untyped-def]
        began = self._now.now
        groups = [self._random.choices(self._shapes, k=self._layout.group_size) for _ in range(self._layout.prompts)]
        yield simpy.AllOf(self._now, [self._now.process(self._group(group)) for group in groups])
        rolled.append(self._now.now - began)
        return [answer for group in groups for answer in group]

    def _group(self, group: list[Shape]):  # type: ignore[no-untyped-def]
        worker = min(range(len(self._students)), key=self._in_flight.__getitem__)
        self._in_flight[worker] += len(group)
        yield simpy.AllOf(self._now, [self._now.process(self._answer(one, self._students[worker])) for one in group])
        self._in_flight[worker] -= len(group)
        with self._grading.request() as turn:
            yield turn
            yield self._now.timeout(len(group) * self._rates.grading_s)

    def _answer(self, shape: Shape, student: Engine):  # type: ignore[no-untyped-def]
        to_read = shape.prompt
        for call in shape.calls:
            yield student.turn(to_read, call.after)
            yield self._now.timeout(self._rates.hop_s)
            yield least_busy(self._teachers).turn(call.read, call.written)
            to_read = call.written
        if shape.rest:
            yield student.turn(to_read, shape.rest)
