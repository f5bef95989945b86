"""Decodes and grades problems, for every stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from actors.relay.handoff import RelayPrompt
from actors.relay.planned_calls import Plan
from actors.relay.seeds import derived_seed
from actors.reward import GradedGroups
from actors.rollout import Policy, RolloutOrder
from actors.settings import RelayLimits, SamplingSettings
from cluster.task_names import task_name
from pipelines.data.problem import Problem
from pipelines.data.prompts import PromptBuilder
from pipelines.rollout.order import Order
from pipelines.rollout.pool import OrderStream, RolloutPool

if TYPE_CHECKING:
    import ray
    from ray.actor import ActorHandle


@dataclass(frozen=True, slots=True, eq=False)
class DecodingActors:
    """The actors that decode and grade for a run, and what they need."""

    pool: RolloutPool
    reward: ActorHandle[Any]
    prompts: PromptBuilder
    seed: int | None
    """the run's seed; with None the engines draw without given seeds"""


class Decoding(Protocol):
    """How problems become orders, and how their answers are graded: a `RolloutDecoding`, or CITER's `RoutedDecoding`."""

    @property
    def samples_per_problem(self) -> int: ...

    @property
    def limits(self) -> RelayLimits: ...

    @property
    def problems_per_order(self) -> int: ...

    def order(self, prompts: tuple[RelayPrompt, ...], first: int, seed: int | None) -> Order:
        """Return the order to decode some prompts; `first` is the number of the first one, `seed` is `DecodingActors.seed`."""
        ...


@dataclass(frozen=True, slots=True)
class RolloutDecoding:
    """How a stage decodes with the rollout workers."""

    policy: Policy
    samples_per_problem: int
    limits: RelayLimits
    sampling: SamplingSettings
    teacher_sampling: SamplingSettings
    draws: str
    """names this decoding within its run; random numbers depend on it, on the run's seed and on the problem's number"""
    want_logprobs: bool = False
    problems_per_order: int = 1
    plans: Sequence[Plan] = ()
    """the calls of each answer, in the order of the answers; only the policy `RANDOM_PLACEMENT` has any"""

    def order(self, prompts: tuple[RelayPrompt, ...], first: int, seed: int | None) -> RolloutOrder:
        """See `Decoding.order`."""
        return RolloutOrder(
            prompts=prompts,
            samples=self.samples_per_problem,
            policy=self.policy,
            limits=self.limits,
            sampling=self.sampling,
            teacher_sampling=self.teacher_sampling,
            want_logprobs=self.want_logprobs,
            plans=tuple(
                self.plans[first * self.samples_per_problem : (first + len(prompts)) * self.samples_per_problem]
            ),
            seeds=self._seeds(seed, first, len(prompts)),
        )

    def _seeds(self, seed: int | None, first: int, count: int) -> tuple[int, ...]:
        if seed is None:
            return ()
        return tuple(derived_seed(seed, self.draws, number) for number in range(first, first + count))


@dataclass(frozen=True, slots=True, eq=False)
class GradedOrder:
    """Some problems with their trajectories."""

    problems: Sequence[Problem]
    batch: ray.ObjectRef[Any]
    """refers to the `TrajectoryBatch`: the samples of the first problem, then of the second, and so on"""
    graded: GradedGroups
    first: int
    """number of its first problem among all that were given"""
    version: int = 0
    """policy version when decoding began"""


class GradedStream:
    """Takes problems one by one or in portions, and returns them as they are finished. It has to be closed."""

    def __init__(self, actors: DecodingActors, decoding: Decoding) -> None:
        self._actors, self._decoding = actors, decoding
        self._portions: dict[int, tuple[int, Sequence[Problem]]] = {}
        self._task_names: dict[int, str] = {}
        self._orders: OrderStream[GradedGroups] = actors.pool.stream(self._grade)

    def add(self, problems: Sequence[Problem], first: int) -> int:
        """Order some problems to be decoded, and return the order's number. `first` is the first problem's number."""
        prompts = self._actors.prompts.prompts(problems)
        number = self._orders.add(self._decoding.order(prompts, first, self._actors.seed))
        self._portions[number], self._task_names[number] = (first, problems), task_name("grade")
        return number

    def next(self) -> GradedOrder:
        """Wait for the next finished order and return it. Raises `RolloutError` as `OrderStream.next` does."""
        finished = self._orders.next()
        first, problems = self._portions.pop(finished.number)
        del self._task_names[finished.number]
        return GradedOrder(problems, finished.batch, finished.graded, first, finished.version)

    def started_by(self, number: int) -> int | None:
        """Return the policy version that began an order; None while it waits. `next` must not have returned the order yet."""
        return self._orders.started_by(number)

    def close(self) -> None:
        """Cancel all orders that are not finished."""
        self._orders.close()

    def _grade(self, number: int, batch: ray.ObjectRef[Any]) -> ray.ObjectRef[GradedGroups]:
        """Have the reward actor grade an order's answers, when they are decoded and the actor is there."""
        _, problems = self._portions[number]
        golds, forms = [problem.gold for problem in problems], [problem.form for problem in problems]
        name = self._task_names[number]
        call = self._actors.reward.grade_groups.options(
            name=name, max_task_retries=-1
        )  # waits for an actor that restarts
        graded: ray.ObjectRef[GradedGroups] = call.remote(
            batch, golds, self._decoding.samples_per_problem, forms, self._decoding.limits.max_new_tokens
        )
        return graded


def decode_and_grade(actors: DecodingActors, problems: Sequence[Problem], decoding: Decoding) -> Iterator[GradedOrder]:
    """Yield all problems in portions, as they are finished."""
    size = decoding.problems_per_order
    starts = range(0, len(problems), size)
    with closing(GradedStream(actors, decoding)) as stream:
        for start in starts:
            stream.add(problems[start : start + size], start)
        for _ in starts:
            yield stream.next()
