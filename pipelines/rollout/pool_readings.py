"""What the driver's metrics show of the rollout workers."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.metrics.publisher import Reading
from pipelines.rollout.pool import RolloutPool


def pool_readings(pool: RolloutPool) -> Iterator[Reading]:
    """Yield the orders that wait, the workers by their state, and the policy version that they should hold."""
    yield Reading("relayllm_orders_waiting", len(pool.waiting))
    left, restarting = len(pool.engines), pool.restarting
    for state, workers in (
        ("ready", left - restarting),
        ("restarting", restarting),
        ("absent", pool.absent),
        ("lost", len(pool.actors) + len(pool.joining) - left - pool.absent),
    ):
        yield Reading("relayllm_rollout_workers", workers, {"state": state})
    yield Reading("relayllm_policy_version", pool.version)
