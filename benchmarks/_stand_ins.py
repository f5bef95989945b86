"""Stand-ins for the actors of a run, inside the driver's process. They answer without doing any work."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from actors.reward import SCENARIOS, GradedGroups
from pipelines.data.prompts import PromptBuilder
from pipelines.rollout.decode_and_grade import DecodingActors
from pipelines.rollout.pool import RolloutPool


class Reference:
    """Replaces a Ray object reference."""

    def __init__(self, result: Future[Any]) -> None:
        self._result = result

    def future(self) -> Future[Any]:
        return self._result


@dataclass(slots=True)
class Answers:
    """Ends the calls of all stand-ins in random order, in a thread of its own.

    It waits until the workers are full, or have all remaining orders. Then it ends half of the calls under way. So the number
    of calls under way is about that of real workers.
    """

    capacity: int
    """orders that all workers together can have at the same time"""
    orders: int = 0
    """orders that are still to come or under way"""
    _pending: list[tuple[Future[Any], object]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    def later(self, result: object) -> Reference:
        """Return a call that will end with `result`."""
        future: Future[Any] = Future()
        with self._changed:
            self._pending.append((future, result))
            if self._full():
                self._changed.notify()
        return Reference(future)

    def expect(self, orders: int) -> None:
        """Set how many orders the next step has."""
        with self._changed:
            self.orders = orders

    def run(self) -> None:
        """End calls until `close`."""
        draw = random.Random(0)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._full())
                if self._closed:
                    return
                draw.shuffle(self._pending)
                half = -(-len(self._pending) // 2)
                ended, self._pending = self._pending[:half], self._pending[half:]
                self.orders -= half
            for future, result in ended:
                future.set_result(result)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _full(self) -> bool:
        return bool(self._pending) and len(self._pending) >= min(self.capacity, self.orders)


class Method:
    """Replaces an actor's method."""

    def __init__(self, call: Any) -> None:
        self.remote = call

    def options(self, **_: object) -> Method:
        """Return the method itself: stand-ins do not restart."""
        return self


class StandInWorker:
    """Replaces a rollout worker. Nobody reads its batches; an order ends when its grading ends."""

    def __init__(self) -> None:
        self.rollout = Method(lambda order: order)


class StandInReward:
    """Replaces the reward actor. It returns the same results for every group."""

    def __init__(self, answers: Answers, group_size: int) -> None:
        graded = graded_group(group_size)
        self.grade_groups = Method(lambda batch, golds, samples, forms, longest: answers.later(graded))


def graded_group(size: int) -> GradedGroups:
    """Return random grading results of one group, the same on every call."""
    rng = np.random.default_rng(0)
    integers = {name: rng.integers(1, 60, size) for name in ("output", "teacher", "requested")}
    return GradedGroups(
        group_size=size,
        scenario=np.array([rng.integers(len(SCENARIOS))], np.uint8),
        correct=rng.random(size) < 0.5,
        timed_out=np.zeros(size, np.bool_),
        trainable=np.ones(size, np.bool_),
        called=np.ones(size, np.bool_),
        reward=rng.random(size, np.float32),
        advantage=rng.random(size, np.float32),
        output_tokens=(60 + integers["output"]).astype(np.int32),
        teacher_tokens=integers["teacher"].astype(np.int32),
        calls=np.ones(size, np.int32),
        failed_calls=np.zeros(size, np.int32),
        unanswered=np.zeros(size, np.bool_),
        requested_tokens=integers["requested"].astype(np.int64),
        written_tokens=integers["teacher"].astype(np.int64),
        teacher_prompt_tokens=np.full(size, 40, np.int64),
        teacher_cached_tokens=np.full(size, 20, np.int64),
        rejected=np.zeros((size, 4), np.int32),
        finish=np.zeros(size, np.uint8),
    )


def stand_in_actors(
    prompts: PromptBuilder, workers: list[Any], reward: Any, sequences_in_flight: int
) -> DecodingActors:
    """Return these stand-ins as the actors that decode and grade."""
    return DecodingActors(RolloutPool(workers, sequences_in_flight, deadline_s=3600.0), reward, prompts, seed=0)
