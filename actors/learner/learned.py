"""Counts what a learner has learned from, for its metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from actors.learner.metrics import GrpoMetrics, SftMetrics
from cluster.metrics.publisher import Reading


class Learned:
    """Counts since the learner began."""

    def __init__(self) -> None:
        self.tokens = self.steps = 0
        self.lag: float | None = None

    def sft(self, taken: Sequence[SftMetrics]) -> None:
        """Count supervised steps."""
        self.tokens += sum(step.tokens for step in taken)
        self.steps += sum(1 - step.non_finite_steps for step in taken)

    def grpo(self, taken: GrpoMetrics) -> None:
        """Count a GRPO step."""
        self.tokens += taken.trained_tokens
        self.steps += taken.optimizer_steps
        self.lag = taken.staleness

    def readings(self) -> Iterator[Reading]:
        """Yield the counts, and the lag of the last GRPO step if there was one."""
        yield Reading("relayllm_trained_tokens", self.tokens)
        yield Reading("relayllm_optimizer_steps", self.steps)
        if self.lag is not None:
            yield Reading("relayllm_policy_lag", self.lag)
