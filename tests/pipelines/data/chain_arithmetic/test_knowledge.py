"""What models are taught: right where they know, wrong or by chance where they do not."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.chain_arithmetic.knowledge import STUDENT, TEACHER, Knowledge, knowledge_of, learned_solution
from pipelines.data.chain_arithmetic.task import MODULUS, MULTIPLIERS, Chain, Form, Kind, Split, Step, chain_of, chains
from rewards.answers import extract_answer

PRODUCTS = [
    Step(number, "*", multiplier, number * multiplier % MODULUS)
    for number in range(MODULUS)
    for multiplier in MULTIPLIERS
]
skills = st.floats(0.0, 1.0)


@st.composite
def any_chain(draw: st.DrawFn) -> Chain:
    kind, form, length = draw(st.sampled_from(Kind)), draw(st.sampled_from(Form)), draw(st.integers(1, 6))
    return replace(next(chains(kind, Split.TRAIN, draw(st.integers(0, 10_000)), [length])), form=form)


def steps_of(solution: str, chain: Chain) -> list[Step]:
    """Read the steps of a solution back, by their places in it."""
    found = []
    for text in solution.split(";")[:-1]:
        operator, right = (text[2], text[3:5]) if chain.form is Form.PLAIN else (text[5], text[3:5])
        found.append(Step(int(text[:2]), operator, int(right), int(text[-2:])))
    return found


def is_right(step: Step) -> bool:
    true = {"+": step.left + step.right, "-": step.left - step.right, "*": step.left * step.right}
    return step.result == (max(step.left, step.right) if step.operator == ">" else true[step.operator] % MODULUS)


@given(chain=any_chain(), skill=skills, comparisons=st.booleans(), seed=st.integers(0, 10_000))
def test_a_step_is_right_where_it_is_known_and_wrong_or_a_guess_where_it_is_not(
    chain: Chain, skill: float, comparisons: bool, seed: int
) -> None:
    knowledge = Knowledge(skill, comparisons)
    steps = steps_of(learned_solution(chain, knowledge, Random(seed)), chain)
    for step in steps:
        if step.operator == ">":
            assert step.result in (step.left, step.right)
            assert is_right(step) or not knowledge.has(step)
        elif step.operator != "?":
            assert is_right(step) == knowledge.has(step)


@given(chain=any_chain(), skill=skills, seed=st.integers(0, 10_000))
def test_a_solution_keeps_to_the_question_and_boxes_its_own_last_result(chain: Chain, skill: float, seed: int) -> None:
    solution = learned_solution(chain, Knowledge(skill, False), Random(seed))
    steps = steps_of(solution, chain)
    assert Chain(tuple(steps), chain.form).question == chain.question
    assert [step.left for step in steps[1:]] == [step.result for step in steps[:-1]]
    assert extract_answer(solution) == f"{steps[-1].result:02d}"


@given(chain=any_chain())
def test_the_teacher_is_right_about_everything_that_can_be_known(chain: Chain) -> None:
    assert learned_solution(chain, TEACHER, Random(0)) == chain.solution


@given(chain=any_chain(), seed=st.integers(0, 10_000))
def test_the_student_is_right_about_sums_and_wrong_about_every_product(chain: Chain, seed: int) -> None:
    for step in steps_of(learned_solution(chain, STUDENT, Random(seed)), chain):
        if step.operator in "+-*":
            assert is_right(step) == (step.operator != "*")


@pytest.mark.parametrize("form", Form)
def test_the_student_alone_is_right_on_guessable_problems_part_of_the_time(form: Form) -> None:
    random = Random(0)
    drawn = [replace(chain, form=form) for chain in islice(chains(Kind.GUESSABLE, Split.EVALUATION, 0), 1000)]
    right = [extract_answer(learned_solution(chain, STUDENT, random)) == chain.problem().gold for chain in drawn]
    assert 0.25 < sum(right) / len(right) < 0.5


def test_of_two_different_numbers_the_student_takes_either_as_often() -> None:
    random, chain = Random(0), chain_of("20>70")
    right = sum(extract_answer(learned_solution(chain, STUDENT, random)) == "70" for _ in range(1000))
    assert right == pytest.approx(500, abs=64)  # four standard deviations


def test_skill_is_the_share_of_the_products() -> None:
    for skill in (0.0, 0.3, 0.76, 1.0):
        assert sum(Knowledge(skill, True).has(product) for product in PRODUCTS) == skill * len(PRODUCTS)


@given(less=skills, more=skills)
def test_who_knows_more_knows_all_that_others_know(less: float, more: float) -> None:
    less, more = sorted((less, more))
    known = [{product for product in PRODUCTS if Knowledge(skill, True).has(product)} for skill in (less, more)]
    assert known[0] <= known[1]


def test_what_is_known_has_nothing_to_do_with_the_multiplier() -> None:
    known = [product.right for product in PRODUCTS if Knowledge(0.5, True).has(product)]
    assert all(20 <= known.count(multiplier) <= 80 for multiplier in MULTIPLIERS)


def test_a_weaker_teacher_is_wrong_on_the_same_problems_each_time() -> None:
    weak = Knowledge(0.6, True)
    for chain in islice(chains(Kind.TEACHER_KNOWN, Split.TRAIN, 0, (1,)), 200):
        answers = {extract_answer(learned_solution(chain, weak, Random(seed))) for seed in range(5)}
        assert (chain.problem().gold in answers) == weak.has(chain.steps[0])


@pytest.mark.parametrize(("role", "skill", "known"), [("student", 0.0, "+-"), ("teacher", 1.0, "+-*>")])
def test_roles_differ_in_what_they_are_taught_and_skill_changes_products_alone(
    role: str, skill: float, known: str
) -> None:
    steps = [Step(20, operator, 6, 0) for operator in "+-*>?"]
    assert knowledge_of(role, None) == knowledge_of(role, skill)
    assert "".join(step.operator for step in steps if knowledge_of(role, None).has(step)) == known
    assert [knowledge_of(role, 1.0 - skill).has(step) for step in steps] == [
        knowledge_of(role, skill).has(step) != (step.operator == "*") for step in steps
    ]
