"""The share of trajectories that two runs have in common."""

import pytest

from benchmarks.agreement import equal_share


@pytest.mark.parametrize(("other", "share"), [(["a", "b"], 1.0), (["a", "x"], 0.5), (["b", "a"], 0.0)])
def test_only_equal_trajectories_in_the_same_place_count(other: list[str], share: float) -> None:
    assert equal_share(["a", "b"], other) == share


def test_steps_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        equal_share(["a", "b"], ["a"])
