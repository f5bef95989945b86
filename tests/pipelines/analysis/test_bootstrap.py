"""Resampling, against draws that are spelled out in plain Python and against exact enumeration."""

from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.analysis.bootstrap import ALL, AVERAGE, Estimate, Replicates, Resampling, difference
from pipelines.analysis.problem_means import Means, ProblemMeans


def accuracy(means: Means) -> np.ndarray:
    return means.accuracy


def call_ratio(means: Means) -> np.ndarray:
    return means.call_ratio


def replicates(table, resamples: int = 200) -> Replicates:
    problems = ProblemMeans.of(table)
    return Replicates.of(problems, Resampling.of(problems, resamples))


def test_every_resample_has_as_many_problems_of_each_kind_as_there_are(random_table) -> None:
    resampling = Resampling.of(ProblemMeans.of(random_table({"a": 7, "b": 30}, 0.5, seed=0)), resamples=500)
    assert [draws.shape for draws in resampling.draws] == [(501, 7), (501, 30)]
    assert [set(draws.sum(axis=1).tolist()) for draws in resampling.draws] == [{7}, {30}]
    assert (resampling.draws[0][0] == 1).all()


def test_equal_seeds_draw_equally_and_others_do_not(random_table) -> None:
    problems = ProblemMeans.of(random_table({"a": 20}, 0.5, seed=0))
    first, again, other = (Resampling.of(problems, 50, seed).draws[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_the_share_of_resamples_with_each_mean_is_that_of_all_possible_draws(table_of) -> None:
    table = table_of([{"problem": i, "correct": i == 0} for i in range(3)])
    resampled = replicates(table, resamples=20_000).measure("easy", accuracy)[1:]
    draws = [draw.count(0) / 3 for draw in product(range(3), repeat=3)]
    for value in {0.0, 1 / 3, 2 / 3, 1.0}:
        expected = sum(abs(draw - value) < 1e-9 for draw in draws) / len(draws)
        assert np.isclose(resampled, value).mean() == pytest.approx(expected, abs=0.015)


def test_intervals_are_those_of_a_plain_loop_over_problems(random_table) -> None:
    table = random_table({"a": 30, "b": 50}, accuracy=0.6, seed=5, samples=2, teacher_part=0.2)
    random = Random(0)
    by_problem: dict[int, list[int]] = {}
    for row, problem in enumerate(table.problem.tolist()):
        by_problem.setdefault(problem, []).append(row)
    by_kind: dict[str, list[int]] = {}
    for problem, rows in by_problem.items():
        by_kind.setdefault(str(table.kind[rows[0]]), []).append(problem)

    right, by_teacher, written = table.correct.tolist(), table.teacher_tokens.tolist(), table.output_tokens.tolist()
    averages, ratios = [], []
    for _ in range(1000):
        accuracies, teacher, output = [], 0, 0
        for problems in by_kind.values():
            rows = [row for _ in problems for row in by_problem[random.choice(problems)]]
            accuracies.append(sum(right[row] for row in rows) / len(rows))
            teacher += sum(by_teacher[row] for row in rows)
            output += sum(written[row] for row in rows)
        averages.append(sum(accuracies) / len(accuracies))
        ratios.append(teacher / output)

    system = replicates(table, resamples=2000)
    average, ratio = system.estimate(AVERAGE, accuracy), system.estimate(ALL, call_ratio)
    assert (average.low, average.high) == pytest.approx(np.quantile(averages, [0.025, 0.975]), abs=0.015)
    assert (ratio.low, ratio.high) == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.001)


def test_scopes_are_each_kind_all_problems_and_the_average_of_the_kinds(table_of) -> None:
    rows = [{"kind": "a", "correct": True, "output_tokens": 10, "calls": ((0, 5, 5, 1, 0),)}]
    rows += [{"kind": "b", "correct": False, "output_tokens": 30} for _ in range(3)]
    system = replicates(table_of(rows))
    found = {scope: system.estimate(scope, accuracy).value for scope in ("a", "b", ALL, AVERAGE)}
    assert found == {"a": 1.0, "b": 0.0, ALL: 0.25, AVERAGE: 0.5}
    assert system.estimate(ALL, call_ratio).value == pytest.approx(5 / 100)
    assert system.estimate(AVERAGE, call_ratio).value == pytest.approx((0.5 + 0.0) / 2)


def test_samples_of_one_problem_stay_together(table_of) -> None:
    rows = [{"problem": problem, "correct": problem == 0} for problem in range(2) for _ in range(50)]
    resampled = replicates(table_of(rows), resamples=400).measure("easy", accuracy)
    assert set(resampled.tolist()) == {0.0, 0.5, 1.0}


def test_equal_systems_differ_by_exactly_nothing(random_table) -> None:
    problems = ProblemMeans.of(random_table({"a": 40}, 0.5, seed=1))
    resampling = Resampling.of(problems, 300)
    first, second = Replicates.of(problems, resampling), Replicates.of(problems, resampling)
    assert difference(first, second, ALL, accuracy) == Estimate(0.0, 0.0, 0.0)


def test_a_paired_difference_is_surer_than_either_of_the_two(random_table, table_of) -> None:
    base = random_table({"a": 200}, 0.5, seed=2)
    rows = [{"problem": i, "correct": bool(base.correct[i]) or i % 5 == 0, "kind": "a"} for i in range(200)]
    problems, better = ProblemMeans.of(base), ProblemMeans.of(table_of(rows))
    resampling = Resampling.of(problems, 500)
    first, second = Replicates.of(better, resampling), Replicates.of(problems, resampling)
    gain = difference(first, second, ALL, accuracy)
    alone = second.estimate(ALL, accuracy)
    assert gain.low > 0
    assert gain.high - gain.low < alone.high - alone.low


def test_bounds_are_order_statistics_so_that_they_may_be_infinite() -> None:
    values = np.asarray([0.5, *([-np.inf] * 5), *np.linspace(0, 1, 90), *([np.inf] * 5)])
    assert Estimate.of(values) == Estimate(0.5, -np.inf, np.inf)
    assert Estimate.of(np.asarray([7.0, *range(101)])) == Estimate(7.0, 2.0, 98.0)


def test_no_problems_and_reserved_names_are_refused(table_of) -> None:
    with pytest.raises(ValueError, match="no problems"):
        Resampling.of(ProblemMeans.of(table_of([{}])).of_kinds(frozenset()))
    with pytest.raises(ValueError, match="'average'"):
        Resampling.of(ProblemMeans.of(table_of([{"kind": "average"}])))


@given(
    answers=st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(1, 50)), min_size=1, max_size=40),
    seed=st.integers(0, 1000),
)
def test_intervals_hold_the_estimate_whatever_the_order_of_problems(table_of, answers, seed) -> None:
    def rows(order):
        return [
            {"problem": place, "kind": answers[i][0], "correct": answers[i][1], "output_tokens": answers[i][2]}
            for place, i in enumerate(order)
        ]

    order = list(range(len(answers)))
    straight = replicates(table_of(rows(order)))
    Random(seed).shuffle(order)
    shuffled = replicates(table_of(rows(order)))
    for scope in straight.groups:
        first, second = straight.estimate(scope, accuracy), shuffled.estimate(scope, accuracy)
        assert first.value == pytest.approx(second.value, abs=1e-12)
        assert first.low - 1e-12 <= first.value <= first.high + 1e-12
        assert 0 <= first.low <= first.high <= 1 + 1e-12
