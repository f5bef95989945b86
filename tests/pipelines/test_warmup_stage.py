"""The rows of the warm-up's optimizer steps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.stages.warmup import _plan


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
