"""Savings against the random router of equal accuracy."""

import numpy as np
import pytest

from pipelines.analysis.bootstrap import ALL, AVERAGE, Replicates, Resampling
from pipelines.analysis.costs import PriceSettings, TokenPrices
from pipelines.analysis.problem_means import ProblemMeans
from pipelines.analysis.router_match import NoMatch, RouterMatch, match_router
from pipelines.records.answers import AnswerTable

PRICES = PriceSettings(student=TokenPrices(input=0.0, output=1.0), teacher=TokenPrices(input=0.0, output=10.0))


def match(system: AnswerTable, student: AnswerTable, teacher: AnswerTable, scope: str = ALL) -> RouterMatch:
    problems = [ProblemMeans.of(table) for table in (system, student, teacher)]
    resampling = Resampling.of(problems[0], 400)
    found = [Replicates.of(one, resampling) for one in problems]
    return match_router(*found, scope, PRICES)


def answers(table_of, right: int, output_tokens: int, **columns) -> AnswerTable:
    return table_of([{"correct": i < right, "output_tokens": output_tokens, **columns} for i in range(100)])


def test_savings_are_those_of_a_calculation_by_hand(table_of) -> None:
    relay = answers(table_of, 70, 100, calls=((10, 6, 6, 30, 0),))
    student, teacher = answers(table_of, 50, 100), answers(table_of, 90, 200, teacher_tokens=200)
    found = match(relay, student, teacher)
    assert found.no_match is None
    assert found.matched_share == 1.0
    savings = found.savings
    assert savings is not None
    phi = 0.5 * 200 / (0.5 * 100 + 0.5 * 200)
    assert savings.queries.value == pytest.approx(0.5)
    assert savings.token_share.value == pytest.approx(phi)
    assert savings.by_queries.value == pytest.approx(1 - 0.06 / 0.5)
    assert savings.by_token_share.value == pytest.approx(1 - 0.06 / phi)
    assert savings.by_teacher_tokens.value == pytest.approx(1 - 6 / (0.5 * 200))
    assert savings.by_price.value == pytest.approx(1 - (94 + 60) / (0.5 * 100 + 0.5 * 2000))
    assert savings.queries.low < 0.5 < savings.queries.high
    assert savings.by_queries.low < savings.by_queries.value < savings.by_queries.high


def test_gains_are_taken_at_the_same_share_of_queries_and_of_tokens(table_of) -> None:
    relay = answers(table_of, 70, 100, calls=((10, 50, 50, 30, 0),))
    student, teacher = answers(table_of, 50, 100), answers(table_of, 90, 200, teacher_tokens=200)
    found = match(relay, student, teacher)
    assert found.gain_at_queries.value == pytest.approx(0.7 - (0.5 + 0.5 * 0.4))
    share = 1 / 3  # of queries; so the teacher writes 200 of every 200 + 2 * 100 tokens
    assert found.gain_at_tokens.value == pytest.approx(0.7 - (0.5 + share * 0.4))


@pytest.mark.parametrize(
    ("right", "reason"),
    [(95, NoMatch.ABOVE_TEACHER), (50, NoMatch.NOT_ABOVE_STUDENT), (30, NoMatch.NOT_ABOVE_STUDENT)],
)
def test_without_a_router_of_equal_accuracy_the_reason_is_said(table_of, right, reason) -> None:
    student, teacher = answers(table_of, 50, 100), answers(table_of, 90, 200, teacher_tokens=200)
    found = match(answers(table_of, right, 100, calls=((10, 6, 6, 30, 0),)), student, teacher)
    assert found.savings is None
    assert found.no_match is reason
    assert found.matched_share < 0.7


def test_bounds_are_infinite_where_the_resamples_have_no_such_router(table_of) -> None:
    student, teacher = answers(table_of, 50, 100), answers(table_of, 90, 200, teacher_tokens=200)
    others = [{"correct": i >= 11, "output_tokens": 100, "calls": ((10, 6, 6, 30, 0),)} for i in range(100)]
    nearly = match(table_of(others), student, teacher)
    assert nearly.savings is not None
    assert nearly.savings.queries.high == np.inf
    assert np.isfinite(nearly.savings.queries.low)
    barely = match(answers(table_of, 51, 100, calls=((10, 6, 6, 30, 0),)), student, teacher)
    assert barely.savings is not None
    assert barely.savings.by_queries.low == -np.inf
    assert 0 < barely.matched_share < 1


def test_a_router_saves_nothing_against_itself(random_table) -> None:
    counts = {"a": 40, "b": 25}
    student = random_table(counts, accuracy=0.4, seed=1, samples=4, tokens=30)
    teacher = random_table(counts, accuracy=0.8, seed=2, samples=4, tokens=90, by_teacher=True)
    problems = [ProblemMeans.of(table) for table in (student, teacher)]
    resampling = Resampling.of(problems[0], 200)
    of_student, of_teacher = (Replicates.of(one, resampling) for one in problems)
    found = match_router(of_teacher, of_student, of_teacher, AVERAGE, PRICES)
    assert found.savings is not None
    assert found.savings.queries.value == pytest.approx(1.0)
    assert found.savings.by_queries.value == pytest.approx(0.0)
    assert found.savings.by_token_share.value == pytest.approx(0.0)
    assert found.savings.by_price.value == pytest.approx(0.0)
    assert found.gain_at_queries.high == pytest.approx(0.0)
    assert found.gain_at_tokens.high == pytest.approx(0.0, abs=1e-9)
