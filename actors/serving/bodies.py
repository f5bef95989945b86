"""Writes answers in OpenAI's form, whole or in chunks, with the key `relay`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from time import time
from typing import Any
from uuid import uuid4

from actors.relay.usage import ModelUsage
from actors.serving.events import CallBegan, CallReport, Event, Summary, TeacherState
from actors.serving.pieces import Piece, TokenLogprob
from actors.serving.protocol import Asked
from actors.trajectory import CallEnding, Source

Json = dict[str, Any]

WRITERS = {Source.STUDENT: "student", Source.TEACHER: "teacher"}
ENDINGS = {
    CallEnding.COMPLETED: "completed",
    CallEnding.END_OF_TEXT: "end_of_text",
    CallEnding.BUDGET: "budget",
    CallEnding.FAILED: "failed",
}


def call_json(call: CallReport) -> Json:
    """Return a call as the key `relay` shows it."""
    return asdict(call) | {"ending": ENDINGS[call.ending]}


def summary_json(summary: Summary) -> Json:
    """Return a choice's summary."""
    return {
        "spans": [{"writer": WRITERS[span.writer], "start": span.start, "end": span.end} for span in summary.spans],
        "calls": [call_json(call) for call in summary.calls],
        "call_ratio": summary.call_ratio,
        "output_tokens": summary.output_tokens,
        "student_tokens": summary.student_tokens,
        "teacher_tokens": summary.teacher_tokens,
        "rejected_commands": summary.rejected_commands,
        "usage": {"student": _usage(summary.usage.student), "teacher": _usage(summary.usage.teacher)},
        "cost": summary.cost,
        "teacher_alone_cost": summary.teacher_alone_cost,
        "teacher": summary.teacher.value,
        "policy_version": summary.policy_version,
        "policy_versions": list(summary.policy_versions),
        "duration_s": summary.duration_s,
        "stop_text": summary.stop_text,
    }


def total_json(summaries: Sequence[Summary], currency: str) -> Json:
    """Return the sums over all choices."""
    student = sum(one.student_tokens for one in summaries)
    teacher = sum(one.teacher_tokens for one in summaries)
    states = {one.teacher for one in summaries}
    state = next(one for one in (TeacherState.AWAY, TeacherState.ON, TeacherState.OFF) if one in states)
    return {
        "cost": sum(one.cost for one in summaries),
        "teacher_alone_cost": sum(one.teacher_alone_cost for one in summaries),
        "call_ratio": teacher / (student + teacher) if student + teacher else 0.0,
        "student_tokens": student,
        "teacher_tokens": teacher,
        "policy_version": max(one.policy_version for one in summaries),
        "teacher": state.value,
        "currency": currency,
    }


def usage_json(summaries: Sequence[Summary], prompts: int) -> Json:
    """Return OpenAI's usage. A prompt counts once, however many choices it has."""
    firsts = summaries[:: max(len(summaries) // prompts, 1)]
    prompt, written = sum(one.prompt_tokens for one in firsts), sum(one.output_tokens for one in summaries)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": sum(one.prompt_cached_tokens for one in firsts)},
    }


@dataclass(slots=True)
class ChoiceText:
    """The visible text of one choice, as far as it has arrived."""

    texts: list[str] = field(default_factory=list)
    logprobs: list[tuple[int, TokenLogprob]] = field(default_factory=list)
    """each token with the place in the text where it begins"""
    length: int = 0
    summary: Summary | None = None

    def take(self, events: Iterable[Event]) -> None:
        """Add events to it."""
        for event in events:
            if isinstance(event, Piece):
                self.texts.append(event.text)
                self.logprobs += _placed(event.logprobs, self.length)
                self.length += len(event.text)
            elif isinstance(event, Summary):
                self.summary = event

    @property
    def text(self) -> str:
        return "".join(self.texts)


class AnswerBodies:
    """Writes the parts of the answer to one request; all have the same id and time."""

    def __init__(self, asked: Asked, currency: str) -> None:
        self._asked, self._currency = asked, currency
        self._head: Json = {
            "id": f"{'chatcmpl' if asked.is_chat else 'cmpl'}-{uuid4().hex}",
            "created": int(time()),
            "model": asked.model,
        }
        self._lengths = [0] * len(asked.choices)

    def whole(self, choices: Sequence[ChoiceText]) -> Json:
        """Return the answer to a request without streaming. All choices must have their summaries."""
        summaries = [choice.summary for choice in choices if choice.summary is not None]
        return {
            **self._head,
            "object": "chat.completion" if self._asked.is_chat else "text_completion",
            "choices": [self._choice(index, choice) for index, choice in enumerate(choices)],
            **self._totals(summaries),
        }

    def beginnings(self) -> list[Json]:
        """Return the chunks that come before any text: the role, in chats."""
        if not self._asked.is_chat:
            return []
        delta = {"role": "assistant", "content": ""}
        return [self._chunk({"index": i, "delta": delta}) for i in range(len(self._asked.choices))]

    def chunks(self, index: int, events: Iterable[Event]) -> list[Json]:
        """Return the chunks of events that arrived together. Text by one writer that arrived together is one chunk."""
        return [self._chunk(self._part(index, event)) for event in _joined(events)]

    def last(self, summaries: Sequence[Summary]) -> Json:
        """Return the chunk with the sums, which comes last if it was asked for."""
        return self._base() | {"choices": []} | self._totals(summaries)

    def _base(self) -> Json:
        return {**self._head, "object": "chat.completion.chunk" if self._asked.is_chat else "text_completion"}

    def _chunk(self, choice: Json) -> Json:
        rest = {"finish_reason": None, "logprobs": None}
        chunk = self._base() | {"choices": [rest | choice]}
        return chunk | {"usage": None} if self._asked.include_usage else chunk

    def _totals(self, summaries: Sequence[Summary]) -> Json:
        return {
            "usage": usage_json(summaries, self._asked.prompts),
            "relay": total_json(summaries, self._currency),
        }

    def _choice(self, index: int, choice: ChoiceText) -> Json:
        assert choice.summary is not None
        message = {"role": "assistant", "content": choice.text}
        return {
            "index": index,
            **({"message": message} if self._asked.is_chat else {"text": choice.text}),
            "logprobs": self._logprobs(choice.logprobs),
            "finish_reason": choice.summary.finish.value,
            "relay": summary_json(choice.summary),
        }

    def _part(self, index: int, event: Event) -> Json:
        match event:
            case Piece():
                start, self._lengths[index] = self._lengths[index], self._lengths[index] + len(event.text)
                text = {"delta": {"content": event.text}} if self._asked.is_chat else {"text": event.text}
                logprobs = self._logprobs(_placed(event.logprobs, start))
                return {"index": index, **text, "logprobs": logprobs, "relay": {"writer": WRITERS[event.writer]}}
            case CallBegan():
                relay: Json = {"call": asdict(event)}
            case CallReport():
                relay = {"call": call_json(event)}
            case Summary():
                relay = summary_json(event)
        part: Json = {"index": index, **({"delta": {}} if self._asked.is_chat else {"text": ""}), "relay": relay}
        return part | {"finish_reason": event.finish.value} if isinstance(event, Summary) else part

    def _logprobs(self, placed: Sequence[tuple[int, TokenLogprob]]) -> Json | None:
        if not self._asked.logprobs:
            return None
        if self._asked.is_chat:
            return {
                "content": [
                    {
                        "token": one.text,
                        "logprob": one.logprob,
                        "bytes": list(one.text.encode(errors="replace")),
                        "top_logprobs": [],
                    }
                    for _, one in placed
                ]
            }
        return {
            "text_offset": [offset for offset, _ in placed],
            "token_logprobs": [one.logprob for _, one in placed],
            "tokens": [one.text for _, one in placed],
            "top_logprobs": [],
        }


def as_sse(data: Json) -> bytes:
    """Return a server-sent event."""
    return b"data: " + json.dumps(data, separators=(",", ":"), allow_nan=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def _placed(tokens: Iterable[TokenLogprob], start: int) -> list[tuple[int, TokenLogprob]]:
    """Return tokens of one piece with the places where they begin. The piece begins at `start`."""
    placed = []
    for one in tokens:
        placed.append((start, one))
        start += len(one.text)
    return placed


def _joined(events: Iterable[Event]) -> list[Event]:
    joined: list[Event] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, Piece) and isinstance(last, Piece) and _may_join(last, event):
            joined[-1] = Piece(last.text + event.text, event.writer, last.logprobs + event.logprobs)
        else:
            joined.append(event)
    return joined


def _may_join(first: Piece, second: Piece) -> bool:
    """Return whether both are by one writer, and the tokens' texts still say where each token begins."""
    known = sum(len(one.text) for one in first.logprobs) == len(first.text)
    return first.writer is second.writer and (known or not second.logprobs)


def _usage(usage: ModelUsage) -> Json:
    return asdict(usage)
