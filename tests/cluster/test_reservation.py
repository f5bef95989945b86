"""Reservation on one node: what is asked for is held in one group, given back as a whole, and refused with a reason."""

import pytest
import ray

from cluster.placement import Bundle, table
from cluster.reservation import PlacementError, reserve


@pytest.mark.ray
def test_on_one_node_places_are_as_asked_for_and_released_together(ray_cluster: None) -> None:
    reservation = reserve([Bundle("a", 0.5, 0), Bundle("b", 0.25, 0), Bundle("c", 0.25, 0, "a")], "fits", timeout_s=30)
    assert [group.bundle_specs for group in reservation.groups] == [[{"CPU": 0.75}, {"CPU": 0.25}]]
    assert reservation.at["a"] == reservation.at["c"] != reservation.at["b"]
    reservation.release()
    states = {group["name"]: group["state"] for group in ray.util.placement_group_table().values()}
    assert states["fits/a"] == "REMOVED"


@pytest.mark.ray
def test_what_does_not_fit_is_refused_with_what_was_asked_and_what_there_is(ray_cluster: None) -> None:
    asked = [Bundle("teacher", 1.0, 64), Bundle("reward", 1.0, 0)]
    with pytest.raises(PlacementError) as caught:
        reserve(asked, "too-large", timeout_s=0.5)
    message = str(caught.value)
    assert "within 0.5 s: teacher needs 64 GPUs on one node, and no node has more than 0.\n" in message
    assert table(asked) in message
    states = {group["name"]: group["state"] for group in ray.util.placement_group_table().values()}
    assert states["too-large/teacher"] == "REMOVED"
