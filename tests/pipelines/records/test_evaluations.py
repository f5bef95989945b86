"""Intervals of accuracies, and the problems of an evaluation within training."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.problem import Problem
from pipelines.data.sources import EvaluationSet
from pipelines.records.evaluations import accuracy_interval, evaluation_of, wilson_interval
from pipelines.stages.evaluate import first_problems
from tests.pipelines.conftest import MakeTable


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.27753),
        (1, 10, 0.01788, 0.40415),
        (5, 10, 0.23659, 0.76341),
        (10, 10, 0.72247, 1.0),
        (50, 100, 0.40383, 0.59617),
    ],
)
def test_intervals_are_the_known_ones(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-5)


@given(st.integers(1, 2000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_an_interval_holds_its_share_and_mirrors_that_of_the_failures(outcome: tuple[int, int]) -> None:
    successes, trials = outcome
    low, high = wilson_interval(successes, trials)
    assert 0.0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1.0
    assert (1 - high, 1 - low) == pytest.approx(wilson_interval(trials - successes, trials), abs=1e-12)


@given(st.lists(st.booleans(), min_size=2, max_size=50))
def test_one_answer_a_problem_has_the_interval_of_a_share(rights: list[bool]) -> None:
    assert accuracy_interval([[right] for right in rights]) == wilson_interval(sum(rights), len(rights))


def test_answers_to_one_problem_are_not_counted_as_independent() -> None:
    unlike = [[True] * 32] * 5 + [[False] * 32] * 5
    low, high = accuracy_interval(unlike)
    spread = 1.959964 * statistics.stdev([1.0] * 5 + [0.0] * 5) / math.sqrt(10)
    assert (low, high) == pytest.approx((0.5 - spread, 0.5 + spread))
    assert high - low > 3 * (wilson_interval(160, 320)[1] - wilson_interval(160, 320)[0])


def test_an_answer_without_a_box_to_grade_is_counted(table_of: MakeTable) -> None:
    texts = [r"so \boxed{4}", "so 4", r"<call>\boxed{4}</call>", r"\boxed{<call>2</call>4}"]
    table = table_of([{"problem": i, "text": text} for i, text in enumerate(texts)])
    found = evaluation_of(
        table, name="final", step=0, policy="relay", kind="all", oracle_call_ratio=None, oracle_accuracy=None
    )
    assert found.no_box_share == 0.5


def test_an_evaluation_within_training_takes_from_every_set() -> None:
    def of(name: str, count: int) -> EvaluationSet:
        problems = tuple(Problem(f"{name}{i}", "1", name) for i in range(count))
        return EvaluationSet(name, problems, tuple(range(count)), ("",) * count, (), "stop", 1, None)

    sets = first_problems((of("large", 100), of("small", 3)), 20)
    assert [[problem.question for problem in found.problems] for found in sets] == [
        [f"large{i}" for i in range(10)],
        ["small0", "small1", "small2"],
    ]
    assert [len(found.problems) for found in first_problems((of("a", 5), of("b", 5), of("c", 5)), 2)] == [1, 1, 1]
