"""Relay and lock-step decode the same planned turns."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from actors.engines.base import Generation, GenerationRequest, OnTokens
from actors.relay.grammar import CommandGrammar
from benchmarks._planned_answers import Lengths, sequences
from benchmarks._schedules import Instant, in_lock_step, relayed
from tests.scripted import PieceTokenizer

LENGTHS = Lengths(student_median=5, teacher_median=3, longest=20)
PIECES = PieceTokenizer(["<call>", "</call>", *"0123456789 "])


class Noting(Instant):
    """Remembers how long each turn was, by the first token of its prompt."""

    def __init__(self) -> None:
        super().__init__(token=1)
        self.turns: dict[int, list[int]] = {}

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        self.turns.setdefault(request.prompt_ids[0], []).append(request.max_tokens)
        return await super().generate(request, on_tokens)


@pytest.mark.parametrize("schedule", [relayed, in_lock_step])
def test_each_answer_has_the_turns_of_its_plan(schedule) -> None:  # type: ignore[no-untyped-def]
    random = Random(0)
    plans = [LENGTHS.draw(random) for _ in range(50)]
    for plan in plans:
        student, teacher = Noting(), Noting()
        answers = sequences([plan], CommandGrammar(PIECES), LENGTHS, range(1, 10), seed=1)
        asyncio.run(schedule(answers, student, teacher))
        (first,) = student.turns
        assert student.turns == {first: list(plan.student)}
        assert teacher.turns == ({first: list(plan.teacher)} if plan.teacher else {})
        assert len(answers[0].trajectory().token_ids) == plan.tokens


def test_other_seeds_have_other_prompts_and_the_same_turns() -> None:
    plans = [LENGTHS.draw(Random(0))] * 2
    grammar = CommandGrammar(PIECES)
    first, second = (sequences(plans, grammar, LENGTHS, range(1, 10), seed=seed) for seed in (1, 2))
    assert [a.prompt for a in first] != [a.prompt for a in second]
    assert [a.prompt for a in first] == [a.prompt for a in sequences(plans, grammar, LENGTHS, range(1, 10), seed=1)]
