"""From problems to graded trajectories: what every stage decodes and grades with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.relay.placements import Plan
from actors.reward import GradedGroups
from actors.rollout import Policy, RolloutOrder
from actors.settings import RelayLimits, SamplingSettings
from pipelines.problems import Problem
from pipelines.rollout_pool import Finished
from pipelines.run import Run

if TYPE_CHECKING:
    import ray


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a stage decodes."""

    policy: Policy
    samples: int
    limits: RelayLimits
    sampling: SamplingSettings
    teacher_sampling: SamplingSettings
    want_logprobs: bool = False
    problems_per_order: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class GradedOrder:
    """Some problems with their trajectories."""

    problems: Sequence[Problem]
    batch: ray.ObjectRef[Any]
    """of the `TrajectoryBatch`: the samples of each problem side by side, in the order of `problems`"""
    graded: GradedGroups
    first: int
    """number of its first problem among all that were given"""


def decode_and_grade(
    run: Run, problems: Sequence[Problem], decoding: Decoding, plans: Sequence[Plan] = ()
) -> Iterator[GradedOrder]:
    """Yield all problems in portions, as they are finished.

    `plans` are the calls of each answer, the samples of each problem side by side: for the policy `RANDOM_PLACEMENT`.
    """
    size = decoding.problems_per_order
    starts = range(0, len(problems), size)
    portions = [problems[start : start + size] for start in starts]
    orders = [
        RolloutOrder(
            prompts=run.prompts.prompts(portion),
            samples=decoding.samples,
            policy=decoding.policy,
            limits=decoding.limits,
            sampling=decoding.sampling,
            teacher_sampling=decoding.teacher_sampling,
            version=run.system.rollout.version,
            want_logprobs=decoding.want_logprobs,
            placements=tuple(plans[start * decoding.samples : (start + size) * decoding.samples]),
        )
        for start, portion in zip(starts, portions, strict=True)
    ]

    def grade(index: int, batch: ray.ObjectRef[Any]) -> ray.ObjectRef[GradedGroups]:
        golds = [problem.gold for problem in portions[index]]
        forms = [problem.form for problem in portions[index]]
        graded: ray.ObjectRef[GradedGroups] = run.system.reward.grade_groups.remote(
            batch, golds, decoding.samples, forms
        )
        return graded

    finished: Finished[GradedGroups]
    for finished in run.system.rollout.run(orders, grade):
        index = finished.index
        yield GradedOrder(portions[index], finished.batch, finished.graded, first=starts[index])
