"""Stand-ins for the actors of a run, within the driver's process: they answer without doing the work."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from actors.reward import SCENARIOS, GradedGroups
from pipelines.data.prompts import PromptBuilder
from pipelines.rollout.decode_and_grade import Decoder
from pipelines.rollout.pool import RolloutPool


class Reference:
    """In the place of a Ray object reference."""

    def __init__(self, result: Future[Any]) -> None:
        self._result = result

    def future(self) -> Future[Any]:
        return self._result


@dataclass(slots=True)
class Answers:
    """Ends the calls of all stand-ins in random order, in a thread of its own.

    It waits until the workers have all the orders that they take, or all that there are, and then ends half of them: so
    the number of calls under way is what real workers would have.
    """

    capacity: int
    """orders that all workers together take"""
    orders: int = 0
    """that are still to come, or under way"""
    _pending: list[tuple[Future[Any], object]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    def later(self, result: object) -> Reference:
        """Return a call that is going to end with `result`."""
        future: Future[Any] = Future()
        with self._changed:
            self._pending.append((future, result))
            if self._full():
                self._changed.notify()
        return Reference(future)

    def expect(self, orders: int) -> None:
        """Say how many orders the next step has."""
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
    """In the place of an actor's method."""

    def __init__(self, call: Any) -> None:
        self.remote = call


class StandInWorker:
    """A rollout worker whose batches are never looked at; an order ends with its grading."""

    def __init__(self) -> None:
        self.rollout = Method(lambda order: order)


class StandInReward:
    """A reward actor that finds the same in all groups."""

    def __init__(self, answers: Answers, group_size: int) -> None:
        graded = graded_group(group_size)
        self.grade_groups = Method(lambda batch, golds, samples, forms: answers.later(graded))


def graded_group(size: int) -> GradedGroups:
    """Return what the reward actor says of one group."""
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
        requested_tokens=integers["requested"].astype(np.int64),
        written_tokens=integers["teacher"].astype(np.int64),
        teacher_prompt_tokens=np.full(size, 40, np.int64),
        teacher_cached_tokens=np.full(size, 20, np.int64),
        rejected=np.zeros((size, 4), np.int32),
        finish=np.zeros(size, np.uint8),
    )


def stand_in_decoder(prompts: PromptBuilder, workers: list[Any], reward: Any, sequences_in_flight: int) -> Decoder:
    """Return what decodes and grades with stand-ins."""
    return Decoder(RolloutPool(workers, sequences_in_flight, deadline_s=3600.0), reward, prompts, seed=0)
