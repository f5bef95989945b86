"""The clock of GRPO's steps, and which groups share an optimizer step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.stages.grpo import PhaseClock, mini_batches


@given(st.integers(1, 20), st.integers(1, 8), st.integers(1, 6), st.integers(0, 2**63 - 1))
def test_mini_batches_hold_every_group_once_and_whole(groups: int, group_size: int, parts: int, seed: int) -> None:
    parts = min(parts, groups)
    found = mini_batches(groups, group_size, parts, seed)
    assert len(found) == parts
    assert sorted(np.concatenate(found).tolist()) == list(range(groups * group_size))
    for rows in found:
        assert (rows.reshape(-1, group_size) // group_size == rows[::group_size, None] // group_size).all()


def test_mini_batches_are_drawn_and_do_not_follow_the_order_of_the_groups() -> None:
    assert mini_batches(8, 2, 2, seed=1)[0].tolist() != list(range(8))
    assert mini_batches(8, 2, 2, seed=1)[0].tolist() != mini_batches(8, 2, 2, seed=2)[0].tolist()


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
