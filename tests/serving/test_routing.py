"""A session goes to one replica, unless that replica has far more to do than the others."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

from actors.serving.routing import MOST_AHEAD, PrefixRouter


@pytest.mark.parametrize(("ahead", "first"), [(0, "own"), (MOST_AHEAD, "own"), (MOST_AHEAD + 1, "idle")])
async def test_load_counts_only_when_it_is_far_apart(monkeypatch: pytest.MonkeyPatch, ahead: int, first: str) -> None:
    own, idle = SimpleNamespace(replica_id="own"), SimpleNamespace(replica_id="idle")
    loads = {"own": 3 + ahead, "idle": 3}
    router = object.__new__(PrefixRouter)
    router._replica_queue_len_cache = SimpleNamespace(get=loads.get)

    async def by_session(self: Any, candidates: Any, request: Any = None) -> list[list[Any]]:
        return [[own], [idle]]

    monkeypatch.setattr(ConsistentHashRouter, "choose_replicas", by_session)
    ranks = await router.choose_replicas([idle, own])
    assert ranks[0][0].replica_id == first
    assert len(ranks) == 2
