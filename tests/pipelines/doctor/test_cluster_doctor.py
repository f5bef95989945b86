"""A real cluster of two nodes on this machine: each is looked at, and what they lack together is said."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.doctor.findings import Finding, Group, Level
from pipelines.doctor.joined import cluster
from tests.pipelines.doctor.conftest import demo


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False})
    started.add_node(num_cpus=1, num_gpus=0)
    yield str(started.address)
    started.shutdown()


def named(found: list[Finding], name: str) -> list[Finding]:
    return [one for one in found if one.name == name]


@pytest.mark.slow
def test_every_node_is_looked_at_and_the_cluster_as_a_whole(two_nodes: str, tmp_path: Path) -> None:
    run = demo(f"run_dir={tmp_path}/run", f"models.cache_dir={tmp_path}/cache", "cluster.cpus_per_actor=1")
    found = list(cluster(run, two_nodes))
    nodes = {one.node for one in found if one.node}
    assert len(nodes) == 2, json.dumps([one.text for one in found])
    for name in ("Python", "versions", "device", "libraries", "DeepSpeed operator", "disk of run_dir", "/dev/shm"):
        assert {one.node for one in named(found, name)} == nodes
    (resources,) = named(found, "resources")
    assert resources.level is Level.PROBLEM  # four actors, two CPUs
    assert "2 nodes with 2 CPUs" in resources.text and "cluster.cpus_per_actor" in resources.remedy
    assert [one.level for one in named(found, "same versions")] == [Level.FINE]
    assert [one.level for one in named(found, "shared run_dir")] == [Level.FINE]
    assert not list(tmp_path.glob(".relayllm-doctor-*"))
    assert {one.level for one in found if one.group is Group.CLUSTER} == {Level.FINE, Level.PROBLEM}
