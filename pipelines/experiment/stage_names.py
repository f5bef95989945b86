"""The names of a run's stages, which their folders have too, and of the policies that its results are about."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from actors.rollout import Policy
from pipelines.experiment.schema import Experiment

FILTER, CITER, WARMUP, GRPO = "filter", "citer", "warmup", "grpo"
BASE, FINAL = "base", "final"
"""names of the evaluations before and after all training; the evaluation after the warm-up is named `WARMUP`"""

PolicyName: TypeAlias = Annotated[str, Field(pattern=rf"^({'|'.join(Policy)}|{CITER}@[0-9.e-]+)$")]
"""who writes an answer, as results name it: a `Policy`, or CITER at a threshold, as in citer@0.95"""


def evaluation_stage(name: str, policy: PolicyName) -> str:
    """Return the stage of one policy in the evaluation `name`."""
    return f"evaluate-{name}-{policy}"


def evaluation_within_grpo(step: int) -> str:
    """Return the name of the evaluation after a GRPO step."""
    return f"{GRPO}-{step:04d}"


def evaluated_steps(experiment: Experiment) -> range:
    """Return the GRPO steps after which there is an evaluation, without the final one. Empty while their number is not known."""
    every = experiment.grpo.evaluate_every
    return range(every, experiment.grpo_steps, every)


def citer_policy(threshold: float) -> PolicyName:
    """Return the name of CITER's routed pair at this threshold, as results show it."""
    return f"{CITER}@{threshold:g}"


def citer_stages(experiment: Experiment) -> tuple[str, ...]:
    """Return the stages of the CITER baseline, as if it were enabled."""
    return (CITER, *(evaluation_stage(CITER, citer_policy(threshold)) for threshold in experiment.citer.thresholds))
