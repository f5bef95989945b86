"""Accuracy against cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.analysis.bootstrap import ALL, Replicates, Resampling
from pipelines.analysis.frontier import Point, accuracy_at_cost, pareto_front, point_of
from pipelines.analysis.problem_means import ProblemMeans

POINTS = st.lists(st.builds(Point, st.just("x"), st.integers(0, 20), st.integers(0, 20)), max_size=12)
CURVE = (Point("base", 0.0, 0.4), Point("worse", 0.3, 0.35), Point("middle", 0.2, 0.6), Point("teacher", 1.0, 0.8))


@given(POINTS)
def test_the_front_is_what_no_other_point_beats(points) -> None:
    front = pareto_front(points)
    for point in points:
        beaten = any(
            other.cost <= point.cost
            and other.accuracy >= point.accuracy
            and (other.cost, other.accuracy) != (point.cost, point.accuracy)
            for other in points
        )
        values = {(one.cost, one.accuracy) for one in front}
        assert ((point.cost, point.accuracy) in values) is not beaten


@given(POINTS)
def test_along_the_front_cost_and_accuracy_rise(points) -> None:
    front = pareto_front(points)
    assert len({point.cost for point in front}) == len(front)
    assert [point.cost for point in front] == sorted(point.cost for point in front)
    assert [point.accuracy for point in front] == sorted(point.accuracy for point in front)


def test_between_two_points_lies_the_line() -> None:
    assert [point.name for point in pareto_front(CURVE)] == ["base", "middle", "teacher"]
    assert accuracy_at_cost(CURVE, 0.1) == pytest.approx(0.5)
    assert accuracy_at_cost(CURVE, 0.3) == pytest.approx(0.625)


def test_what_the_curve_does_not_reach_is_none() -> None:
    assert accuracy_at_cost(CURVE[1:], 0.1) is None
    assert accuracy_at_cost((), 0.1) is None


def test_the_ends_need_no_interpolation() -> None:
    assert accuracy_at_cost(CURVE, 5.0) == 0.8


@given(POINTS.filter(bool), st.floats(0, 20), st.floats(0, 20))
def test_more_cost_never_buys_less(points, cost, more) -> None:
    found, better = accuracy_at_cost(points, cost), accuracy_at_cost(points, cost + more)
    assert found is None or (better is not None and better >= found - 1e-9)


def test_a_point_is_a_systems_accuracy_and_any_cost(table_of) -> None:
    rows = [{"correct": i < 3, "output_tokens": 20, "calls": ((4, i, i, 9, 0),)} for i in range(1, 5)]
    problems = ProblemMeans.of(table_of(rows))
    system = Replicates.of(problems, Resampling.of(problems, 10))
    assert point_of("relay", system, ALL, lambda means: means.teacher_tokens) == Point("relay", 2.5, 0.5)
    assert point_of("relay", system, ALL, lambda means: means.call_ratio) == Point("relay", 0.125, 0.5)
