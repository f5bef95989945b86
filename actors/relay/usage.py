"""What one answer took from both engines, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from actors.engines.base import Generation
from cluster.settings import Settings

_PRICED_TOKENS = 1_000_000


class ModelPrices(Settings):
    """Prices of one model, in units of money per million tokens."""

    input: float = Field(0.0, ge=0.0, description="prompt tokens that the model has to read anew")
    cached_input: float = Field(0.0, ge=0.0, description="prompt tokens that its prefix cache holds")
    output: float = Field(0.0, ge=0.0, description="tokens that it writes")


class Prices(Settings):
    """Prices of both models."""

    student: ModelPrices = ModelPrices()
    teacher: ModelPrices = ModelPrices()


@dataclass(slots=True)
class ModelUsage:
    """Tokens of one model, over all its turns of one answer."""

    turns: int = 0
    prompt_tokens: int = 0
    """of all turns together, so the answer so far counts again with each turn"""
    cached_tokens: int = 0
    """how many of `prompt_tokens` the prefix cache held"""
    written_tokens: int = 0
    """in the model's own vocabulary, those that were taken back or cut off included"""

    def add(self, generation: Generation) -> None:
        """Count one turn."""
        self.add_turn(generation.prompt_tokens, generation.cached_tokens, len(generation.token_ids))

    def add_turn(self, prompt_tokens: int, cached_tokens: int, written_tokens: int) -> None:
        """Count one turn by its numbers."""
        self.turns += 1
        self.prompt_tokens += prompt_tokens
        self.cached_tokens += cached_tokens
        self.written_tokens += written_tokens

    def cost(self, prices: ModelPrices) -> float:
        """Return the cost of these tokens, in units of money."""
        read = self.prompt_tokens - self.cached_tokens
        priced = read * prices.input + self.cached_tokens * prices.cached_input + self.written_tokens * prices.output
        return priced / _PRICED_TOKENS


@dataclass(slots=True)
class Usage:
    """Tokens of both models for one answer."""

    student: ModelUsage
    teacher: ModelUsage

    @classmethod
    def none(cls) -> Usage:
        """Return the usage of an answer that has not begun."""
        return cls(ModelUsage(), ModelUsage())

    def cost(self, prices: Prices) -> float:
        """Return the cost of the answer so far, in units of money."""
        return self.student.cost(prices.student) + self.teacher.cost(prices.teacher)
