"""What the driver's metrics show of the rollout workers."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.metrics.publisher import Reading
from pipelines.rollout.pool import RolloutPool


def pool_readings(pool: RolloutPool) -> Iterator[Reading]:
    """Yield the orders that wait, the workers by their state, and the policy version that they should hold."""
    yield Reading("relayllm_orders_waiting", len(pool.waiting))
    left, restarting, absent = len(pool.engines), pool.restarting, len(pool.absent)
    for state, workers in (
        ("ready", left - restarting),
        ("restarting", restarting),
        ("absent", absent),
        ("lost", len(pool.actors) + len(pool.later) - left - absent),
    ):
        yield Reading("relayllm_rollout_workers", workers, {"state": state})
    yield Reading("relayllm_policy_version", pool.version)
