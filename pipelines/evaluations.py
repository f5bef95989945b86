"""What an evaluation found: one row per policy and kind of problem, a line of evaluations.jsonl."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

EVALUATIONS = "evaluations.jsonl"

Policy = Literal["student", "teacher", "relay", "random_placement"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One policy on the problems of one kind. Accuracies, shares and ratios lie between 0 and 1."""

    name: str
    """when it was: base, warmup, grpo-<step> or final"""
    step: int
    """GRPO steps done"""
    policy: Policy
    kind: str
    problems: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    call_ratio: float
    """teacher-written tokens / all output tokens, pooled"""
    calls_per_sample: float
    called_share: float
    """samples with a call"""
    requested_mean: float | None
    """n of a call, as the student wrote it; None without a call"""
    output_tokens_mean: float
    oracle_call_ratio: float | None
    """of the best possible policy on the same problems, where the task can compute it"""
    oracle_accuracy: float | None


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share."""
    z = 1.959964
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)
