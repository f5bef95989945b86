"""A conversation with the models of one server: what was said, with which budget, and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.client.wire import Kind, Model, Summary


@dataclass(slots=True)
class Totals:
    """Sums over the answers of one model."""

    answers: int = 0
    calls: int = 0
    output_tokens: int = 0
    teacher_tokens: int = 0
    cost: float = 0.0
    teacher_alone_cost: float = 0.0
    duration_s: float = 0.0

    @property
    def call_ratio(self) -> float:
        return self.teacher_tokens / self.output_tokens if self.output_tokens else 0.0

    def add(self, summary: Summary) -> None:
        """Count one answer."""
        self.answers += 1
        self.calls += len(summary.calls)
        self.output_tokens += summary.output_tokens
        self.teacher_tokens += summary.teacher_tokens
        self.cost += summary.cost
        self.teacher_alone_cost += summary.teacher_alone_cost
        self.duration_s += summary.duration_s


@dataclass(slots=True)
class Session:
    """The state of a chat."""

    models: Mapping[Kind, Model]
    messages: list[dict[str, str]] = field(default_factory=list)
    max_call_ratio: float | None = None
    """None is no limit"""
    is_alone: bool = False
    """the student answers without the teacher"""
    compares: bool = False
    """the student alone and the teacher alone answer each question, too"""
    currency: str = ""
    totals: dict[Kind, Totals] = field(default_factory=dict)

    @property
    def main(self) -> Kind:
        """Which model's answers the conversation goes on from."""
        return "student" if self.is_alone else "relay"

    @property
    def asked(self) -> list[Kind]:
        """Which models answer a question, the main one first."""
        others: tuple[Kind, ...] = ("relay", "student", "teacher") if self.compares else ()
        return [self.main, *(kind for kind in others if kind != self.main and kind in self.models)]

    def body(self, kind: Kind, question: str) -> dict[str, Any]:
        """Return the request for an answer."""
        body: dict[str, Any] = {
            "model": self.models[kind].id,
            "messages": [*self.messages, {"role": "user", "content": question}],
        }
        if kind == "relay" and self.max_call_ratio is not None:
            body["relay"] = {"max_call_ratio": self.max_call_ratio}
        return body

    def keep(self, question: str, answer: str) -> None:
        """Let the conversation go on from an answer."""
        self.messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def count(self, kind: Kind, summary: Summary) -> None:
        """Add what an answer took to the totals."""
        self.totals.setdefault(kind, Totals()).add(summary)
