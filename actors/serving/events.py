"""What happens while an answer is written. A replica sends these events to the ingress."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from actors.relay.usage import Usage
from actors.serving.pieces import Piece
from actors.trajectory import CallEnding, Source


@dataclass(frozen=True, slots=True)
class CallBegan:
    """The teacher begins to write."""

    start: int
    """characters of the visible text before it"""
    requested: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """One call that has ended."""

    start: int
    """place of its text in the visible text, in characters"""
    end: int
    requested: int
    written: int
    duration_s: float
    first_token_s: float | None
    """time to its first token; None if there was none"""
    ending: CallEnding
    reason: str | None
    """why it failed"""
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the visible text by one writer, in characters."""

    writer: Source
    start: int
    end: int


class TeacherState(StrEnum):
    """Whether the teacher could be called in an answer."""

    ON = "on"
    OFF = "off"
    """the request, the model or the server did without it"""
    AWAY = "away"
    """it failed again and again, so the student answered alone"""


class Finish(StrEnum):
    """Why an answer ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All numbers of a finished answer. It is the last event."""

    finish: Finish
    spans: tuple[Span, ...]
    calls: tuple[CallReport, ...]
    student_tokens: int
    """output tokens, those of commands included"""
    teacher_tokens: int
    rejected_commands: int
    usage: Usage
    cost: float
    teacher_alone_cost: float
    """what the same answer would have cost if the teacher had written all of it"""
    teacher: TeacherState
    policy_version: int
    """of the student's weights at the end of the answer"""
    policy_versions: tuple[int, ...]
    """all that wrote a part of it"""
    duration_s: float
    stop_text: str | None
    prompt_tokens: int
    """tokens of the prompt of the model that began"""
    prompt_cached_tokens: int
    """how many of them its prefix cache held"""

    @property
    def output_tokens(self) -> int:
        return self.student_tokens + self.teacher_tokens

    @property
    def call_ratio(self) -> float:
        return self.teacher_tokens / self.output_tokens if self.output_tokens else 0.0


Event = Piece | CallBegan | CallReport | Summary
