"""What one answer may take from the teacher, and what it may cost. A budget holds to the token."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from actors.relay.usage import ModelPrices, Prices, Usage

_PRICED_TOKENS = 1_000_000
_SLACK = 1e-9
"""so that a ratio like 0.1 allows 1 of 10 tokens although binary fractions cannot hold it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of one answer, beside its limits of length and calls. None is no limit."""

    teacher_tokens: int | None = None
    """most output tokens that the teacher may write"""
    call_ratio: float | None = None
    """most output tokens of the teacher, as a share of all output tokens. It holds at every moment, so also at the end"""
    cost: float | None = None
    """most that the answer may cost, in units of money. It is checked before each turn as if no prefix cache helped"""
    prices: Prices = field(default_factory=Prices)

    def is_spent(self, teacher_tokens: int) -> bool:
        """Return whether no call can ever be allowed again, after the teacher wrote so many output tokens."""
        if self.call_ratio is not None and self.call_ratio <= 0.0:
            return True
        return self.teacher_tokens is not None and teacher_tokens >= self.teacher_tokens

    def output_tokens(self, teacher_tokens: int, output_tokens: int) -> int | None:
        """Return how many of the answer's next tokens may be the teacher's; None if there is no limit. See `call_tokens`."""
        limits: list[int] = []
        if self.teacher_tokens is not None:
            limits.append(self.teacher_tokens - teacher_tokens)
        if self.call_ratio is not None and self.call_ratio < 1.0:
            # (written + n) / (all + n) <= ratio, solved for n.
            most = (self.call_ratio * output_tokens - teacher_tokens) / (1.0 - self.call_ratio)
            limits.append(math.floor(most + _SLACK))
        return max(min(limits), 0) if limits else None

    def call_tokens(self, usage: Usage, teacher_tokens: int, output_tokens: int, context_tokens: int) -> int | None:
        """Return how many tokens the teacher may write now; None if there is no limit.

        So far the output has `output_tokens`, and the teacher wrote `teacher_tokens` of them. The teacher would have to read
        a context of `context_tokens`.
        """
        of_output = self.output_tokens(teacher_tokens, output_tokens)
        limits = [] if of_output is None else [of_output]
        if self.cost is not None:
            limits.append(self._affordable(usage, self.prices.teacher, context_tokens))
        return max(min(limits), 0) if limits else None

    def student_tokens(self, usage: Usage, prompt_tokens: int) -> int | None:
        """Return how many tokens the student may write now, after it reads `prompt_tokens`; None if there is no limit."""
        return None if self.cost is None else max(self._affordable(usage, self.prices.student, prompt_tokens), 0)

    def _affordable(self, usage: Usage, prices: ModelPrices, prompt_tokens: int) -> int:
        assert self.cost is not None
        left = (self.cost - usage.cost(self.prices)) * _PRICED_TOKENS
        left -= prompt_tokens * max(prices.input, prices.cached_input)
        if left < 0:
            return 0
        return 2**31 - 1 if prices.output == 0 else math.floor(left / prices.output + _SLACK)
