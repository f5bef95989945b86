"""The memory of actors as metrics, on real Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import ray

from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.memory.actors import memory_metrics
from pipelines.records.metrics import METRICS
from tests.pipelines.small import SMALL

MIB = 2**20


class Holder:
    """An asynchronous actor, as rollout workers are, that holds memory."""

    def __init__(self, mib: int) -> None:
        self._held = np.ones(mib * MIB, np.uint8)

    async def ready(self) -> int:
        return len(self._held)


@pytest.mark.ray
def test_the_largest_actor_of_a_role_counts_and_missing_ones_are_left_out(tmp_path: Path, ray_cluster: None) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    experiment = load(tmp_path / "small.yaml", ["rollout.workers=2", "cluster.device=cpu"], Experiment)
    actors = []
    for name, mib in (("rollout-0", 1), ("rollout-1", 300)):
        options = {"name": name, "namespace": experiment.namespace, "num_cpus": 0}
        actors.append(ray.remote(Holder).options(**options).remote(mib))
    ray.get([actor.ready.remote() for actor in actors])
    found = memory_metrics(experiment, deadline_s=60.0)
    for actor in actors:
        ray.kill(actor)
    assert set(found) == {"memory/rollout_gib", "memory/driver_gib", "memory/node_used_share"} <= set(METRICS)
    assert found["memory/rollout_gib"] > 300 / 1024
    assert 0 < found["memory/node_used_share"] < 1
