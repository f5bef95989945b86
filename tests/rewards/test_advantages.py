"""Advantages are relative to their group."""

from random import Random
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.advantages import group_advantages

rewards_lists = st.lists(st.floats(-2, 2, width=16), min_size=2, max_size=8)


def test_advantages_are_in_units_of_the_sample_standard_deviation() -> None:
    assert group_advantages([0.0, 1.0], epsilon=1e-9) == pytest.approx([-(0.5**0.5), 0.5**0.5])


def test_epsilon_is_added_to_the_standard_deviation() -> None:
    assert group_advantages([0.0, 2.0], epsilon=1.0) == pytest.approx([-1 / (2**0.5 + 1), 1 / (2**0.5 + 1)])


def test_mean_normalisation_keeps_the_scale_of_rewards() -> None:
    assert group_advantages([0.0, 0.01], "mean") == pytest.approx([-0.005, 0.005])


@pytest.mark.parametrize("rewards", [[], [1.5], [0.1] * 7])
def test_a_group_that_cannot_be_compared_has_no_advantage(rewards: list[float]) -> None:
    assert group_advantages(rewards).tolist() == [0.0] * len(rewards)


@given(rewards_lists, st.sampled_from(["std", "mean"]))
def test_advantages_sum_to_zero_and_keep_the_order(rewards: list[float], normalisation: Literal["std", "mean"]) -> None:
    advantages = group_advantages(rewards, normalisation)
    assert advantages.sum() == pytest.approx(0.0, abs=1e-4)
    assert np.all(np.diff(advantages[np.argsort(rewards, kind="stable")]) >= 0)


@given(rewards_lists, st.randoms())
def test_advantages_move_with_their_trajectories(rewards: list[float], random: Random) -> None:
    order = random.sample(range(len(rewards)), len(rewards))
    moved = group_advantages([rewards[i] for i in order])
    assert moved == pytest.approx(group_advantages(rewards)[order], abs=1e-5)
