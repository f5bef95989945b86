"""Labels: what the student knows, what only the teacher does, and what a rollout has to decide."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.citer.labels import Label, Reference, chosen_for_rollout, label_tokens, student_choices
from actors.engines.base import EngineError, GenerationRequest
from tests.citer.conftest import Toy
from tests.scripted import ScriptedEngine


def references(toy: Toy, count: int = 6) -> list[Reference]:
    return [Reference(prompt, tuple(toy.solution(prompt.student_ids))) for prompt in toy.prompts(count, seed=20)]


def test_choices_and_hidden_states_are_those_of_a_plain_forward_pass(toy: Toy) -> None:
    solutions = references(toy)
    hidden, choice = student_choices(toy.model, solutions)
    row = 0
    for solution in solutions:
        for place in range(len(solution.token_ids)):
            state, logits = toy.states([*solution.prompt.student_ids, *solution.token_ids[:place]])
            np.testing.assert_allclose(hidden[row], state.numpy(), rtol=1e-3, atol=1e-4)
            assert choice[row] == int(logits.argmax())
            row += 1
    assert row == len(hidden) == len(choice)


async def test_the_students_own_tokens_are_its_and_the_others_the_teachers(toy: Toy) -> None:
    solutions, teacher = references(toy), toy.teacher()
    tokens = await label_tokens(solutions, *student_choices(toy.model, solutions), teacher, timeout_s=60)
    for row, label in enumerate(tokens.label):
        solution = solutions[tokens.solution[row]]
        before = [*solution.prompt.student_ids, *solution.token_ids[: tokens.position[row]]]
        assert label == (Label.TEACHER if toy.is_hard(before) else Label.STUDENT)
    assert len(teacher.requests) == int((tokens.label == Label.TEACHER).sum()) > 0


async def test_a_token_that_neither_model_would_write_is_undecided(toy: Toy) -> None:
    (solution,) = references(toy, count=1)
    before = [*solution.prompt.student_ids, *solution.token_ids[:3]]
    strange = next(t for t in range(6, 30) if t not in (toy.student_token(before), toy.teacher_token(before)))
    given_reference = Reference(solution.prompt, (*solution.token_ids[:3], strange))
    tokens = await label_tokens(
        [given_reference], *student_choices(toy.model, [given_reference]), toy.teacher(), timeout_s=60
    )
    assert tokens.label[3] == Label.UNDECIDED
    assert tokens.begun(3, [given_reference]) == (*solution.token_ids[:3], toy.student_token(before))


async def test_a_teacher_that_fails_or_is_late_fails_the_labels(toy: Toy) -> None:
    async def for_ever(_: GenerationRequest) -> None:
        await asyncio.Event().wait()

    solutions = references(toy)
    seen = student_choices(toy.model, solutions)
    failing = ScriptedEngine(toy.tokenizer, lambda _: EngineError("out of order"))
    with pytest.raises(EngineError, match="out of order"):
        await label_tokens(solutions, *seen, failing, timeout_s=60)
    silent = ScriptedEngine(toy.tokenizer, lambda _: [], before=for_ever)
    with pytest.raises(EngineError, match=r"longer than 0\.01 s"):
        await label_tokens(solutions, *seen, silent, timeout_s=0.01)


@given(st.lists(st.sampled_from(Label), max_size=30), st.integers(0, 20), st.integers(0, 3))
def test_rollouts_are_of_undecided_rows_only_and_bounded(labels: list[Label], most: int, seed: int) -> None:
    column = np.array(labels, np.uint8)
    rows = chosen_for_rollout(column, most, seed)
    assert len(rows) == min(most, labels.count(Label.UNDECIDED))
    assert len(set(rows.tolist())) == len(rows)
    assert all(labels[row] is Label.UNDECIDED for row in rows)
    assert rows.tolist() == chosen_for_rollout(column, most, seed).tolist()
