"""How a day's budget bounds a request, and what the request took of it so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from actors.relay.usage import ModelUsage, Prices
from actors.serving.events import CallBegan, CallReport, Event, Summary
from actors.serving.guards.budgets import AnswerBounds
from actors.serving.pieces import Piece
from actors.serving.protocol import Asked
from actors.serving.request import AnswerRequest, ModelKind
from actors.trajectory import Source


def bounds_of(asked: Asked) -> AnswerBounds:
    """Return what bounds the answers to a request. Where its choices differ, the larger value counts."""
    first = asked.choices[0]
    without_teacher = first.max_call_ratio == 0 or first.max_cost == 0
    return AnswerBounds(
        prompt_tokens=max(map(_prompt_tokens, asked.choices)),
        max_new_tokens=first.max_tokens,
        max_calls=first.max_calls,
        choices=len(asked.choices),
        max_teacher_tokens=0 if without_teacher else _most([choice.max_teacher_tokens for choice in asked.choices]),
        max_cost=first.max_cost,
        by_teacher=asked.kind is ModelKind.TEACHER,
    )


def within(asked: Asked, each: AnswerBounds) -> Asked:
    """Return the request with the bounds that a day's budget leaves each of its choices."""
    choices = [
        replace(
            choice,
            max_teacher_tokens=_least(choice.max_teacher_tokens, each.max_teacher_tokens),
            max_cost=each.max_cost,
        )
        for choice in asked.choices
    ]
    return replace(asked, choices=tuple(choices))


class Spending:
    """What the choices of a request took so far.

    A call under way counts as if the teacher wrote all that was asked for. While a choice is written, its student counts as if
    it read the prompt once and wrote what can be seen of its text, from its first text on. No choice counts more than it may use.
    """

    def __init__(self, asked: Asked, prices: Prices) -> None:
        self._prices = prices
        self._choices = asked.choices
        self._calls: list[list[tuple[int, float]]] = [[] for _ in asked.choices]
        """by choice: teacher tokens and cost of each call that has ended"""
        self._open = [self._worst(i, self._most(i)) if asked.kind is ModelKind.TEACHER else None for i in self._indexes]
        """by choice: the same of the teacher's turn under way"""
        self._visible = [0 for _ in asked.choices]
        """by choice: tokens of the student that can be seen"""
        self._ended: dict[int, tuple[int, float]] = {}

    @property
    def _indexes(self) -> range:
        return range(len(self._choices))

    def take(self, index: int, events: Iterable[Event]) -> None:
        """Count events of a choice."""
        for event in events:
            match event:
                case Piece(writer=Source.STUDENT):
                    self._visible[index] += len(event.logprobs)
                case CallBegan():
                    written = sum(tokens for tokens, _ in self._calls[index])
                    self._open[index] = self._worst(index, max(min(event.requested, self._most(index) - written), 0))
                case CallReport():
                    self._open[index] = None
                    usage = ModelUsage(1, event.prompt_tokens, event.cached_tokens, event.written)
                    self._calls[index].append((event.written, usage.cost(self._prices.teacher)))
                case Summary():
                    self._ended[index] = event.teacher_tokens, event.cost

    def total(self) -> tuple[int, float]:
        """Return the teacher's tokens and the cost of all choices."""
        parts = [part for index in self._indexes for part in self._parts(index)]
        return sum(tokens for tokens, _ in parts), sum(cost for _, cost in parts)

    def _parts(self, index: int) -> list[tuple[int, float]]:
        if index in self._ended:
            return [self._ended[index]]
        choice, under_way = self._choices[index], self._open[index]
        student = ModelUsage(1, len(choice.prompt.student_ids), 0, self._visible[index])
        parts = [*self._calls[index], *([] if under_way is None else [under_way])]
        if self._visible[index]:
            parts.append((0, student.cost(self._prices.student)))
        tokens, cost = sum(tokens for tokens, _ in parts), sum(cost for _, cost in parts)
        return [(tokens, cost if choice.max_cost is None else min(cost, choice.max_cost))]

    def _most(self, index: int) -> int:
        choice = self._choices[index]
        return _least(choice.max_tokens, choice.max_teacher_tokens) or 0

    def _worst(self, index: int, tokens: int) -> tuple[int, float]:
        choice = self._choices[index]
        usage = ModelUsage(1, _prompt_tokens(choice) + choice.max_tokens, 0, tokens)
        return tokens, usage.cost(self._prices.teacher)


def _prompt_tokens(choice: AnswerRequest) -> int:
    return max(len(choice.prompt.student_ids), len(choice.prompt.teacher_ids))


def _most(values: Sequence[int | None]) -> int | None:
    """Return the largest value; None if one of them is no limit."""
    given = [value for value in values if value is not None]
    return max(given) if len(given) == len(values) else None


def _least(first: int | None, second: int | None) -> int | None:
    given = [value for value in (first, second) if value is not None]
    return min(given) if given else None
