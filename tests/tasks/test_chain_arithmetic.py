"""Chain arithmetic: what each model knows, disjoint splits, and the oracle's cost."""

from __future__ import annotations

import re
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tasks.chain_arithmetic import (
    ENDING_TOKENS,
    STEP_TOKENS,
    Kind,
    Split,
    chains,
    known_to_student,
    oracle_cost,
    problems,
)
from rewards.answers import extract_answer

STEP = re.compile(r"(\d\d)([-+*?])(\d\d)=(\d\d);")
TRUE = {"+": lambda a, b: (a + b) % 100, "-": lambda a, b: (a - b) % 100, "*": lambda a, b: (a * b) % 100}


@given(kind=st.sampled_from(Kind), seed=st.integers(0, 10_000))
def test_every_step_of_a_solution_is_right_and_the_last_result_is_the_gold(kind: Kind, seed: int) -> None:
    chain = next(chains(kind, Split.TRAIN, seed))
    steps = STEP.findall(chain.solution)
    for left, operator, right, result in steps:
        assert operator == "?" or TRUE[operator](int(left), int(right)) == int(result)
    assert extract_answer(chain.solution) == chain.problem().gold == steps[-1][3]


@given(seed=st.integers(0, 10_000))
def test_the_student_knows_sums_and_gets_every_product_wrong(seed: int) -> None:
    chain = next(chains(Kind.TEACHER_KNOWN, Split.TRAIN, seed))
    written = STEP.findall(known_to_student(chain, Random(seed)))
    assert [step[1] for step in written] == [step.operator for step in chain.steps]
    for left, operator, right, result in written:
        assert (TRUE[operator](int(left), int(right)) == int(result)) == (operator != "*")


@pytest.mark.parametrize("kind", Kind)
def test_kinds_have_the_operators_that_define_them(kind: Kind) -> None:
    needed = {Kind.TEACHER_KNOWN: "*", Kind.UNKNOWABLE: "?"}.get(kind, "")
    for chain in islice(chains(kind, Split.TRAIN, 0), 50):
        assert chain.kind == kind
        operators = {step.operator for step in chain.steps}
        assert operators <= {"+", "-"} | set(needed)
        assert operators >= set(needed)


def test_training_and_evaluation_problems_never_meet() -> None:
    counts = dict.fromkeys(Kind, 300)
    train = {problem.question for problem in problems(counts, Split.TRAIN, 0)}
    evaluation = {problem.question for problem in problems(counts, Split.EVALUATION, 0)}
    assert len(train) == len(evaluation) == 900
    assert not train & evaluation


def test_equal_seeds_give_equal_problems_and_others_do_not() -> None:
    counts = {Kind.KNOWN: 50}
    assert problems(counts, Split.TRAIN, 1) == problems(counts, Split.TRAIN, 1) != problems(counts, Split.TRAIN, 2)


def test_the_oracle_calls_once_for_each_product_and_for_nothing_else() -> None:
    cost = oracle_cost(["12+34*05", "12?34-05", "10*02*03*04"], command_tokens=7)
    assert cost.calls == 4
    assert cost.teacher_tokens == 8
    assert cost.output_tokens == (2 + 2 + 3) * STEP_TOKENS + 4 * 7 + 3 * ENDING_TOKENS


def test_the_oracles_token_counts_are_those_of_the_tokenizer(tiny_model: object) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    command = tokenizer.encode("<call>2</call>", add_special_tokens=False)
    chain = next(chain for chain in chains(Kind.TEACHER_KNOWN, Split.TRAIN, 0) if len(chain.steps) == 3)
    written = tokenizer.encode(chain.solution, add_special_tokens=False)
    cost = oracle_cost([chain.question], len(command))
    assert cost.output_tokens == len(written) + 1 + cost.calls * len(command)
