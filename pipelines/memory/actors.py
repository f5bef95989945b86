"""The memory of a run's actors as metrics. They show a growing actor before its node is full and Ray ends it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import ray
from ray.exceptions import RayError

from cluster.memory_use import MemoryUse, memory_use
from pipelines.experiment.schema import Experiment

_GIB = 2**30
_ROLES = ("teacher", "rollout", "learner", "reward")


def memory_metrics(experiment: Experiment, absent: Collection[str] = (), deadline_s: float = 5.0) -> dict[str, float]:
    """Return the `memory/` metrics of `pipelines.records.metrics.METRICS`; an actor that does not answer in time is left out.

    Actors that are `absent`, by their names, are not asked: they have not joined the run yet.
    """
    asked: dict[ray.ObjectRef[MemoryUse], str] = {}
    names = (bundle.actor for bundle in (*experiment.bundles(), *experiment.later_workers()))
    for name in (name for name in names if name not in absent):
        try:
            actor = ray.get_actor(name, namespace=experiment.namespace)
        except ValueError:  # it was not started, or is gone
            continue
        asked[actor.__ray_call__.remote(memory_use)] = name.partition("-")[0]
    own = memory_use()
    shares = [own.node_used_share]
    sizes: dict[str, float] = defaultdict(float)
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=deadline_s) if asked else ([], [])
    for reference in ready:
        try:
            found: MemoryUse = ray.get(reference)
        except RayError:  # it is restarting
            continue
        sizes[asked[reference]] = max(sizes[asked[reference]], found.own_bytes / _GIB)
        shares.append(found.node_used_share)
    return {
        **{f"memory/{role}_gib": sizes[role] for role in _ROLES if role in sizes},
        "memory/driver_gib": own.own_bytes / _GIB,
        "memory/node_used_share": max(shares),
    }
