"""One answer that a client asked for, checked and ready for the engines."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from actors.relay.handoff import RelayPrompt
from actors.settings import SamplingSettings


class ModelKind(StrEnum):
    """Who writes an answer."""

    RELAY = "relay"
    STUDENT = "student"
    """the student alone: commands are forbidden in decoding"""
    TEACHER = "teacher"
    """the teacher alone, from its own prompt"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRequest:
    """One choice of a request. A request with `n` choices becomes `n` of these."""

    kind: ModelKind
    prompt: RelayPrompt
    max_tokens: int
    max_calls: int
    student_sampling: SamplingSettings
    teacher_sampling: SamplingSettings
    stops: tuple[str, ...] = ()
    seed: int | None = None
    want_logprobs: bool = False
    max_teacher_tokens: int | None = None
    max_call_ratio: float | None = None
    max_cost: float | None = None
    shows_commands: bool = False
    session: str = ""
    """names the beginning of the conversation, so that all its turns go to the replica that has it in its prefix cache"""

    @property
    def wants_teacher(self) -> bool:
        """Whether there may be a call."""
        return self.kind is ModelKind.RELAY and self.max_calls > 0
