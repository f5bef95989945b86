"""What answers cost."""

import pytest

from pipelines.analysis.bootstrap import ALL, Replicates, Resampling
from pipelines.analysis.costs import PriceSettings, TokenPrices, cost
from pipelines.analysis.problem_means import ProblemMeans

PRICES = PriceSettings(
    student=TokenPrices(input=1.0, cached_input=0.1, output=2.0),
    teacher=TokenPrices(input=10.0, cached_input=3.0, output=40.0),
)


def replicates(table) -> Replicates:
    problems = ProblemMeans.of(table)
    return Replicates.of(problems, Resampling.of(problems, 50))


def test_the_price_of_a_relayed_answer_counts_every_token_of_both_models(table_of) -> None:
    row = {"output_tokens": 50, "prompt_tokens": 20, "calls": ((10, 5, 5, 33, 0), (30, 8, 8, 52, 32))}
    found = cost(replicates(table_of([row])), ALL, PRICES)
    assert found.student_output_tokens.value == 50 - 13
    assert found.student_input_tokens.value == 20 + 13
    assert found.student_cached_tokens.value == (20 + 10) + (20 + 30)
    assert found.teacher_output_tokens.value == 13
    assert found.teacher_input_tokens.value == 33 + 52 - 32
    assert found.teacher_cached_tokens.value == 32
    assert found.unrecorded_calls.value == 0
    assert found.price.value == pytest.approx(33 * 1 + 80 * 0.1 + 37 * 2 + 53 * 10 + 32 * 3 + 13 * 40)


def test_the_price_of_the_teacher_alone_is_prompt_and_output(table_of) -> None:
    row = {"output_tokens": 50, "teacher_tokens": 50, "prompt_tokens": 20}
    assert cost(replicates(table_of([row])), ALL, PRICES).price.value == pytest.approx(20 * 10 + 50 * 40)


def test_the_price_of_the_student_alone_is_prompt_and_output(table_of) -> None:
    row = {"output_tokens": 50, "prompt_tokens": 20}
    assert cost(replicates(table_of([row])), ALL, PRICES).price.value == pytest.approx(20 * 1 + 50 * 2)


def test_by_default_the_models_of_the_paper_are_priced_by_their_parameters(table_of) -> None:
    rows = ({"output_tokens": 40}, {"output_tokens": 40, "teacher_tokens": 40})
    student, teacher = (cost(replicates(table_of([row])), ALL, PriceSettings()).price.value for row in rows)
    assert teacher / student == pytest.approx(8 / 1.7)
