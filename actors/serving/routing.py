"""Routes the turns of one conversation to the replica that has its prefix, unless that replica has far more to do than others."""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

MOST_AHEAD = 8
"""requests that the replica with the prefix may have in flight beyond the least loaded one"""


class PrefixRouter(RequestRouter):
    """A session is the beginning of a conversation. Equal sessions go to equal replicas, in every process, also after restarts.

    The replica is found by rendezvous hashing: when a replica comes or goes, only its own sessions move.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replicas to try, one after another."""
        replicas = random.sample(candidate_replicas, len(candidate_replicas))  # so that equal loads are shared
        replicas.sort(key=self._load)
        if pending_request is not None and replicas:
            pending_request.routing_context.should_backoff = True
            if session := pending_request.metadata.session_id:
                own = max(replicas, key=lambda replica: _weight(session, replica.replica_id.unique_id))
                if self._load(own) <= self._load(replicas[0]) + MOST_AHEAD:
                    replicas.remove(own)
                    replicas.insert(0, own)
        return [[replica] for replica in replicas]

    def _load(self, replica: Any) -> int:
        return self.replica_queue_len_cache.get(replica.replica_id) or 0


def _weight(session: str, replica: str) -> bytes:
    return blake2b(f"{session}/{replica}".encode(), digest_size=8).digest()
