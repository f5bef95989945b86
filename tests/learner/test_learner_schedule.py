"""The learning rate follows its ramp and its schedule."""

import pytest

from actors.learner.schedule import learning_rate
from actors.settings import OptimizerSettings


def rates(total_steps: int, **settings: object) -> list[float]:
    optimizer = OptimizerSettings(lr=1.0, **settings)
    return [learning_rate(optimizer, step, total_steps) for step in range(total_steps + 1)]


def test_constant_without_ramp_is_lr_throughout():
    assert rates(3) == [1.0, 1.0, 1.0, 1.0]


def test_the_ramp_rises_linearly_and_never_starts_at_zero():
    assert rates(5, ramp_steps=3)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_linear_falls_from_the_end_of_the_ramp_to_zero_after_the_last_step():
    assert rates(6, schedule="linear", ramp_steps=2)[2:] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_cosine_is_half_way_down_in_the_middle():
    assert rates(4, schedule="cosine")[2] == pytest.approx(0.5)


def test_the_rate_stays_at_zero_past_the_end():
    assert learning_rate(OptimizerSettings(lr=1.0, schedule="cosine"), 9, 4) == pytest.approx(0.0)
