"""The best possible policy: it calls for what the student does not know, where that helps, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.chain_arithmetic.knowledge import STUDENT, TEACHER, Knowledge, learned_solution
from pipelines.data.chain_arithmetic.oracle import calls_needed, oracle_cost, solvable
from pipelines.data.chain_arithmetic.task import Chain, Form, Kind, Split, chain_of, chains
from rewards.answers import extract_answer


@pytest.mark.parametrize(
    ("question", "needed"),
    [
        ("12+34-05", (False, False)),
        ("12+34*05", (False, True)),
        ("10*02*03*04", (True, True, True)),
        ("12>34+05", (True, False)),
        ("12+34>46", (False, False)),  # 46 > 46: either of the two is right
        ("12 34+ 05*", (False, True)),
        ("12 34>", (True,)),
        ("12?34*05", (False, False)),  # nobody can know what 12?34 is, so the product is worth nothing
        ("12*02?34", (False, False)),
    ],
)
def test_a_call_is_needed_right_before_each_result_that_only_the_teacher_knows(
    question: str, needed: tuple[bool, ...]
) -> None:
    assert calls_needed(chain_of(question)) == needed


def test_the_oracle_pays_for_each_call_and_each_token_that_is_written() -> None:
    cost = oracle_cost(["12+34*05", "12?34-05", "10*02*03*04", "12 34>"], command_tokens=7)
    assert cost.calls == 1 + 0 + 3 + 1
    assert cost.teacher_tokens == 10
    assert cost.output_tokens == (2 + 2 + 3) * len("12+34=46;") + len("12 34>=34;") + 5 * 7 + 4 * 5
    assert cost.accuracy == 3 / 4
    assert cost.call_ratio == 10 / cost.output_tokens


@st.composite
def some_chains(draw: st.DrawFn) -> list[Chain]:
    kind, form = draw(st.sampled_from(Kind)), draw(st.sampled_from(Form))
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    drawn = islice(chains(kind, Split.TRAIN, draw(st.integers(0, 10_000)), lengths), 5)
    return [replace(chain, form=form) for chain in drawn]


def relayed(chain: Chain, needed: tuple[bool, ...], teacher: Knowledge, random: Random) -> str:
    """The answer where the teacher writes the results that are needed and the student all others."""
    value = f"{chain.steps[0].left:02d}"
    for step, called in zip(chain.steps, needed, strict=True):
        one = chain_of(value + chain.form.operation(step.operator, step.right))
        value = extract_answer(learned_solution(one, teacher if called else STUDENT, random)) or ""
    return value


@given(found=some_chains(), skill=st.floats(0.0, 1.0), seed=st.integers(0, 10_000))
def test_relaying_as_the_oracle_does_solves_each_solvable_problem(found: list[Chain], skill: float, seed: int) -> None:
    teacher, random = Knowledge(skill, True), Random(seed)
    for chain in found:
        if solvable(chain, STUDENT, teacher):
            assert relayed(chain, calls_needed(chain, STUDENT, teacher), teacher, random) == chain.problem().gold


@given(found=some_chains(), seed=st.integers(0, 10_000))
def test_without_any_one_of_its_calls_the_next_result_is_at_most_a_guess(found: list[Chain], seed: int) -> None:
    for chain in found:
        for step, called in zip(chain.steps, calls_needed(chain), strict=True):
            if called:
                one = chain_of(f"{step.left:02d}" + chain.form.operation(step.operator, step.right))
                alone = {extract_answer(learned_solution(one, STUDENT, Random(seed + i))) for i in range(40)}
                assert alone != {f"{step.result:02d}"}


@given(found=some_chains(), less=st.floats(0.0, 1.0), more=st.floats(0.0, 1.0))
def test_a_weaker_teacher_solves_less_and_is_called_less(found: list[Chain], less: float, more: float) -> None:
    less, more = sorted((less, more))
    questions = [chain.question for chain in found]
    weak, strong = (oracle_cost(questions, 7, STUDENT, Knowledge(skill, True)) for skill in (less, more))
    assert weak.accuracy <= strong.accuracy <= oracle_cost(questions, 7).accuracy
    assert weak.calls <= strong.calls <= oracle_cost(questions, 7).calls


@given(found=some_chains())
def test_a_student_that_knows_what_the_teacher_knows_never_calls(found: list[Chain]) -> None:
    questions = [chain.question for chain in found]
    alone = oracle_cost(questions, 7, TEACHER, TEACHER)
    assert alone.calls == alone.teacher_tokens == 0
    assert alone.accuracy == oracle_cost(questions, 7).accuracy


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("kind", [Kind.TEACHER_KNOWN, Kind.GUESSABLE])
def test_the_oracles_token_counts_are_those_of_the_tokenizer(tiny_model: Path, kind: Kind, form: Form) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    command = tokenizer.encode("<call>2</call>", add_special_tokens=False)
    chain = replace(next(chains(kind, Split.TRAIN, 0, (6,))), form=form)
    written = tokenizer.encode(chain.solution, add_special_tokens=False)
    cost = oracle_cost([chain.question], len(command))
    assert cost.calls > 0
    assert cost.output_tokens == len(written) + 1 + cost.calls * len(command)
    assert tokenizer.unk_token_id not in tokenizer.encode(chain.question + chain.solution, add_special_tokens=False)
