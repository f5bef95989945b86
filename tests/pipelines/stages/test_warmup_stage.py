"""The rows of the warm-up's optimizer steps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.problem import Problem
from pipelines.data.sources import ProblemSet, ProblemSets
from pipelines.stages.warmup import _plan, warmup_problems


def sets(*questions: str) -> ProblemSets:
    def one(asked: tuple[str, ...]) -> ProblemSet:
        found = tuple(Problem(question, gold="1", kind="k") for question in asked)
        return ProblemSet("k", found, tuple(range(len(found))), asked, (), "stop")

    return ProblemSets(one(("train",)), (one(questions),) if questions else (), ())


def test_the_warmup_takes_problems_of_its_own_in_the_seeds_order_and_else_those_of_training() -> None:
    training = [Problem("filtered", gold="1", kind="k")]
    own = [str(number) for number in range(20)]
    orders = [[problem.question for problem in warmup_problems(sets(*own), training, seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == sorted(own)
    assert warmup_problems(sets(), training, 0) == training


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 3), st.integers(0, 5))
def test_every_epoch_takes_each_row_once(rows: int, rows_per_step: int, epochs: int, seed: int) -> None:
    plan = _plan(rows, rows_per_step, epochs, seed)
    steps_per_epoch = -(-rows // rows_per_step)
    assert len(plan) == epochs * steps_per_epoch
    assert all(0 < len(step) <= rows_per_step for step in plan)
    for epoch in range(epochs):
        taken = np.concatenate(plan[epoch * steps_per_epoch : (epoch + 1) * steps_per_epoch])
        assert sorted(taken.tolist()) == list(range(rows))


def test_epochs_differ_in_order_and_equal_seeds_agree() -> None:
    first, second = _plan(50, 50, epochs=2, seed=1)
    assert first.tolist() != second.tolist()
    assert first.tolist() == _plan(50, 50, epochs=1, seed=1)[0].tolist()
    assert first.tolist() != _plan(50, 50, epochs=1, seed=2)[0].tolist()
