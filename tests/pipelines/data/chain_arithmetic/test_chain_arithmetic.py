"""Chain arithmetic: kinds, forms, lengths, and splits that never meet."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.chain_arithmetic.task import Chain, Form, Kind, Split, chain_of, chains, problems
from rewards.answers import extract_answer

STEP = {
    Form.PLAIN: re.compile(r"(?P<left>\d\d)(?P<operator>[-+*>?])(?P<right>\d\d)=(?P<result>\d\d);"),
    Form.POSTFIX: re.compile(r"(?P<left>\d\d) (?P<right>\d\d)(?P<operator>[-+*>?])=(?P<result>\d\d);"),
}
TRUE = {
    "+": lambda a, b: (a + b) % 100,
    "-": lambda a, b: (a - b) % 100,
    "*": lambda a, b: (a * b) % 100,
    ">": lambda a, b: a if a > b else b,
}
NEEDED = {Kind.TEACHER_KNOWN: "*", Kind.GUESSABLE: ">", Kind.UNKNOWABLE: "?"}


@st.composite
def any_chain(draw: st.DrawFn) -> Chain:
    kind, form, length = draw(st.sampled_from(Kind)), draw(st.sampled_from(Form)), draw(st.integers(1, 6))
    return replace(next(chains(kind, draw(st.sampled_from(Split)), draw(st.integers(0, 10_000)), [length])), form=form)


@given(chain=any_chain())
def test_every_step_of_a_solution_is_right_and_the_last_result_is_the_gold(chain: Chain) -> None:
    steps = list(STEP[chain.form].finditer(chain.solution))
    assert len(steps) == len(chain.steps)
    value = chain.question[:2]
    for step in steps:
        operator, result = step["operator"], int(step["result"])
        assert step["left"] == value
        assert operator == "?" or TRUE[operator](int(step["left"]), int(step["right"])) == result
        value = step["result"]
    assert chain.solution == "".join(step[0] for step in steps) + f"\\boxed{{{value}}}"
    assert extract_answer(chain.solution) == chain.problem().gold == value


@given(chain=any_chain())
def test_a_question_tells_the_whole_chain_but_for_results_of_chance(chain: Chain) -> None:
    read = chain_of(chain.question)
    assert (read.question, read.form, read.kind) == (chain.question, chain.form, chain.kind)
    assert read == chain or chain.kind is Kind.UNKNOWABLE


@pytest.mark.parametrize(
    "question", ["", "47", "47+3", "47+35*", "47 35+07*", "47/35", "47+35 ", "47+35\n", "What is 2?"]
)
def test_a_question_of_something_else_is_refused(question: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"question {question!r} is no chain arithmetic")):
        chain_of(question)


@pytest.mark.parametrize("kind", Kind)
def test_kinds_have_the_operators_that_define_them(kind: Kind) -> None:
    needed = set(NEEDED.get(kind, ""))
    for chain in islice(chains(kind, Split.TRAIN, 0, (1, 3, 6)), 50):
        assert chain.kind == kind
        operators = {step.operator for step in chain.steps}
        assert needed <= operators <= {"+", "-"} | needed


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("10+20>30", "guessable"),
        ("10>20*03", "teacher_known"),
        ("10*03>20", "teacher_known"),
        ("10>20*03?04", "unknowable"),
    ],
)
def test_the_least_solvable_operation_decides_the_kind(question: str, kind: str) -> None:
    assert chain_of(question).kind == kind


def test_lengths_come_evenly_and_no_others() -> None:
    found = Counter(len(chain.steps) for chain in islice(chains(Kind.TEACHER_KNOWN, Split.TRAIN, 0, (4, 5, 6)), 900))
    assert found.keys() == {4, 5, 6}
    assert all(count == pytest.approx(300, abs=57) for count in found.values())  # four standard deviations


def test_training_and_evaluation_problems_never_meet() -> None:
    counts = dict.fromkeys(Kind, 300)
    train = {problem.question for problem in problems(counts, Split.TRAIN, 0)}
    evaluation = {problem.question for problem in problems(counts, Split.EVALUATION, 0)}
    assert len(train) == len(evaluation) == 1200
    assert not train & evaluation


@given(chain=any_chain())
def test_a_problem_is_on_the_same_side_of_the_split_in_every_form(chain: Chain) -> None:
    assert len({replace(chain, form=form).question for form in Form}) == len(Form)
    assert len({replace(chain, form=form).split for form in Form}) == 1


def test_another_form_writes_the_same_problems() -> None:
    counts = dict.fromkeys(Kind, 20)
    plain = problems(counts, Split.EVALUATION, 3)
    postfix = problems(counts, Split.EVALUATION, 3, form=Form.POSTFIX)
    assert [chain_of(problem.question).form for problem in postfix] == [Form.POSTFIX] * 80
    assert [(problem.gold, problem.kind) for problem in postfix] == [(problem.gold, problem.kind) for problem in plain]


def test_a_prefix_tells_the_kinds_of_a_source_apart() -> None:
    found = problems({Kind.KNOWN: 2, Kind.GUESSABLE: 3}, Split.TRAIN, 0, (5,), kind_prefix="long/")
    assert Counter(problem.kind for problem in found) == {"long/known": 2, "long/guessable": 3}


def test_equal_seeds_give_equal_problems_and_others_do_not() -> None:
    counts = {Kind.KNOWN: 50}
    assert problems(counts, Split.TRAIN, 1) == problems(counts, Split.TRAIN, 1) != problems(counts, Split.TRAIN, 2)


def test_more_problems_than_there_are_is_an_error_and_no_endless_search() -> None:
    with pytest.raises(ValueError, match=r"counts\.teacher_known = 501: of lengths \[1\] there are only \d+ problems"):
        problems({Kind.KNOWN: 5, Kind.TEACHER_KNOWN: 501}, Split.EVALUATION, 0, (1,))
