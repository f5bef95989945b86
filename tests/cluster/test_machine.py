"""The memory of the machines of a cluster."""

from __future__ import annotations

import pytest

from cluster.machine import nodes_of_cluster, this_machine

GIB = 2**30


def node(
    address: str, memory_gib: float, store_gib: float, gpu: str | None = None, alive: bool = True
) -> dict[str, object]:
    resources = {"memory": memory_gib * GIB, "object_store_memory": store_gib * GIB}
    resources |= {f"accelerator_type:{gpu}": 1.0} if gpu else {}
    return {"Alive": alive, "NodeManagerAddress": address, "Resources": resources}


def test_the_nodes_that_are_alive_are_counted_and_the_smallest_gpu_says_its_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = [
        node("10.0.0.1", 70, 30, "H100"),
        node("10.0.0.2", 140, 1),  # objects have a small /dev/shm there
        node("10.0.0.3", 70, 30, "L4"),
        node("10.0.0.4", 700, 300, alive=False),
    ]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    machines = nodes_of_cluster()
    assert machines.where == "the cluster's 3 nodes"
    assert machines.total == pytest.approx(400 * GIB)
    assert machines.largest == pytest.approx(200 * GIB)
    assert machines.gpu == 24 * GIB


def test_a_cluster_of_this_machine_has_its_memory_exactly(ray_cluster: None) -> None:
    assert nodes_of_cluster().total == this_machine().total
