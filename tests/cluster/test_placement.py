"""Placement: what a run asks for, as text, and what is said when the cluster has less."""

import pytest
import ray
from ray.util.placement_group import remove_placement_group

from cluster.placement import Bundle, PlacementError, places, reserve, table, total

BUNDLES = [Bundle("teacher", 1.0, 2), Bundle("rollout-0", 0.5, 1), Bundle("reward", 0.25, 0)]


def test_the_total_is_the_sum_of_all_bundles() -> None:
    assert total(BUNDLES) == (1.75, 3)
    assert total([]) == (0, 0)


def test_the_table_has_a_line_for_each_actor_and_the_total() -> None:
    assert table(BUNDLES).splitlines() == [
        "actor                     CPUs  GPUs",
        "teacher                      1     2",
        "rollout-0                  0.5     1",
        "reward                    0.25     0",
        "total                     1.75     3",
    ]


def test_a_bundle_without_gpus_asks_for_none() -> None:
    assert Bundle("reward", 1.0, 0).resources == {"CPU": 1.0}
    assert Bundle("teacher", 1.0, 2).resources == {"CPU": 1.0, "GPU": 2}


@pytest.mark.ray
def test_what_fits_is_reserved_bundle_by_bundle(ray_cluster: None) -> None:
    group = reserve([Bundle("a", 0.5, 0), Bundle("b", 0.25, 0)], "fits", timeout_s=30)
    try:
        assert group.bundle_specs == [{"CPU": 0.5}, {"CPU": 0.25}]
    finally:
        remove_placement_group(group)


@pytest.mark.ray
def test_what_does_not_fit_is_refused_with_what_was_asked_and_what_there_is(ray_cluster: None) -> None:
    cpus = ray.cluster_resources()["CPU"]
    with pytest.raises(PlacementError) as caught:
        reserve([Bundle("teacher", 1.0, 64), Bundle("reward", 1.0, 0)], "too-large", timeout_s=0.5)
    message = str(caught.value)
    assert "within 0.5 s" in message
    assert table([Bundle("teacher", 1.0, 64), Bundle("reward", 1.0, 0)]) in message
    assert f"cluster: {cpus:g} CPUs, 0 GPUs; free now: " in message
    states = {group["name"]: group["state"] for group in ray.util.placement_group_table().values()}
    assert states["too-large"] == "REMOVED"


def test_actors_beside_each_other_share_a_place_and_its_resources() -> None:
    bundles = [Bundle("teacher", 1, 0.4), Bundle("a", 1, 0.45), Bundle("reward", 1, 0), Bundle("b", 0.5, 0.1, "a")]
    assert places(bundles) == {"teacher": 0, "a": 1, "reward": 2, "b": 1}


@pytest.mark.ray
def test_what_is_beside_each_other_is_reserved_as_one_bundle(ray_cluster: None) -> None:
    group = reserve([Bundle("a", 0.5, 0), Bundle("b", 0.25, 0), Bundle("c", 0.25, 0, "a")], "beside", timeout_s=30)
    try:
        assert group.bundle_specs == [{"CPU": 0.75}, {"CPU": 0.25}]
    finally:
        remove_placement_group(group)
