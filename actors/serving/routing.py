"""Routes the turns of one conversation to the replica that has its prefix, unless that replica has far more to do than others."""

from __future__ import annotations

from typing import Any

from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

MOST_AHEAD = 8
"""requests that the replica with the prefix may have in flight beyond the least loaded one"""


class PrefixRouter(ConsistentHashRouter):
    """A session is the beginning of a conversation. Equal sessions go to equal replicas, in every process, also after restarts.

    When a replica comes or goes, only the sessions near it on the hash ring move.
    """

    async def choose_replicas(
        self, candidate_replicas: list[Any], pending_request: Any | None = None
    ) -> list[list[Any]]:
        """Return the replicas to try, one after another."""
        ranks: list[list[Any]] = await super().choose_replicas(candidate_replicas, pending_request)
        if len(ranks) < 2:
            return ranks
        by_load = sorted(candidate_replicas, key=self._load)
        if self._load(ranks[0][0]) > self._load(by_load[0]) + MOST_AHEAD:
            return [[replica] for replica in by_load]
        return ranks

    def _load(self, replica: Any) -> int:
        return self.replica_queue_len_cache.get(replica.replica_id) or 0
