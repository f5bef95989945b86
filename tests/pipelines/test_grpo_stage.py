"""The order of GRPO's problems, and its clock."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.problems import Problem
from pipelines.stages.grpo import PhaseClock, problems_of_step


def some(count: int) -> list[Problem]:
    return [Problem(question=str(i), gold=str(i), kind="known") for i in range(count)]


@given(st.integers(1, 12), st.integers(1, 15), st.integers(1, 3), st.integers(0, 5))
def test_each_epoch_holds_every_problem_once_whatever_the_size_of_a_step(
    size: int, count: int, epochs: int, seed: int
) -> None:
    problems = some(size)
    steps = -(-epochs * size // count)
    drawn = [problem for step in range(steps) for problem in problems_of_step(problems, step, count, seed)]
    assert len(drawn) == steps * count
    for epoch in range(epochs):
        assert Counter(drawn[epoch * size : (epoch + 1) * size]) == Counter(problems)


def test_epochs_and_seeds_differ_in_order_and_equal_seeds_agree() -> None:
    problems = some(20)
    first, second = (problems_of_step(problems, step, 20, seed=3) for step in range(2))
    assert first != second
    assert first != problems_of_step(problems, 0, 20, seed=4)
    assert first == problems_of_step(problems, 0, 20, seed=3)


def test_a_step_past_the_end_of_an_epoch_goes_on_with_the_next_one() -> None:
    problems = some(10)
    whole = problems_of_step(problems, 0, 20, seed=1)
    assert problems_of_step(problems, 1, 8, seed=1) == whole[8:16]


def test_the_clock_has_each_phase_and_the_step() -> None:
    clock = PhaseClock()
    with clock.phase("rollout"):
        pass
    with clock.phase("learn"):
        pass
    metrics = clock.metrics()
    assert metrics.keys() == {"time/rollout_s", "time/learn_s", "time/step_s"}
    assert 0 <= metrics["time/rollout_s"] + metrics["time/learn_s"] <= metrics["time/step_s"]


def test_a_phase_that_fails_raises_its_error() -> None:
    clock = PhaseClock()
    with pytest.raises(ValueError, match="broken"), clock.phase("rollout"):
        raise ValueError("broken")
    assert clock.seconds == {}
