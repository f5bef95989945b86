"""The names of a run's stages, which are also those of their folders."""

from __future__ import annotations

from pipelines.experiment.schema import Experiment

FILTER, CITER, WARMUP, GRPO = "filter", "citer", "warmup", "grpo"
BASE, FINAL = "base", "final"
"""evaluations before and after all training; the one after the warm-up is named like it"""


def evaluation_stage(name: str, policy: str) -> str:
    """Return the stage of one policy in the evaluation `name`."""
    return f"evaluate-{name}-{policy}"


def evaluation_within_grpo(step: int) -> str:
    """Return the name of the evaluation after a GRPO step."""
    return f"{GRPO}-{step:04d}"


def evaluated_steps(experiment: Experiment) -> range:
    """Return the GRPO steps after which there is an evaluation, but for the final one; none while steps are not known."""
    grpo = experiment.grpo
    # How many steps an epoch has is not known before the filter has run.
    return range(grpo.evaluate_every, grpo.steps or 0, grpo.evaluate_every)


def citer_policy(threshold: float) -> str:
    """Return the name that results of CITER's routed pair at this threshold are reported by."""
    return f"{CITER}@{threshold:g}"


def citer_stages(experiment: Experiment) -> tuple[str, ...]:
    """Return the stages of the baseline, if it is enabled."""
    return (CITER, *(evaluation_stage(CITER, citer_policy(threshold)) for threshold in experiment.citer.thresholds))
