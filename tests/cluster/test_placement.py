"""Placement: what a run asks for and what the nodes have, as text, and what is said when it does not fit."""

import pytest

from cluster.placement import Bundle, Node, misfit, place_of, places, table, table_of_nodes, total

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


def test_actors_beside_each_other_share_a_place_and_its_resources() -> None:
    bundles = [Bundle("teacher", 1, 0.4), Bundle("a", 1, 0.45), Bundle("reward", 1, 0), Bundle("b", 0.5, 0.1, "a")]
    assert place_of(bundles) == {"teacher": "teacher", "a": "a", "reward": "reward", "b": "a"}
    assert places(bundles) == [Bundle("teacher", 1, 0.4), Bundle("a", 1.5, 0.55), Bundle("reward", 1, 0)]


def test_the_table_of_nodes_has_what_is_free_on_each() -> None:
    nodes = [Node("gpu-1 (192.0.2.11)", 32, 8, 28, 1.5), Node("head (192.0.2.10)", 4, 0, 4, 0)]
    assert table_of_nodes(nodes).splitlines() == [
        "node                       CPUs free   GPUs free",
        "gpu-1 (192.0.2.11)          28 of 32    1.5 of 8",
        "head (192.0.2.10)             4 of 4      0 of 0",
    ]


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([], "teacher needs 2 GPUs on one node, and no node has more than 0"),
        ([Node("a", 8, 1, 8, 1)] * 3, "teacher needs 2 GPUs on one node, and no node has more than 1"),
        ([Node("a", 8, 2, 8, 2)], "the run needs 3 GPUs, and all nodes together have 2"),
        ([Node("a", 8, 4, 8, 1)], "the run needs 3 GPUs, and of 4 1 are free"),
        ([Node("a", 1, 4, 1, 4)], "the run needs 1.75 CPUs, and all nodes together have 1"),
        ([Node("a", 8, 2, 8, 1)] * 3, "some actor, which must be whole on one node, finds no node with room for it"),
    ],
)
def test_what_does_not_fit_is_named(nodes: list[Node], reason: str) -> None:
    assert reason in misfit(BUNDLES, nodes)
