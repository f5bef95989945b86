"""A session goes to one replica, unless that replica has far more to do than the others."""

from types import SimpleNamespace
from typing import Any

import pytest

from actors.serving.routing import MOST_AHEAD, PrefixRouter

REPLICAS = [SimpleNamespace(replica_id=SimpleNamespace(unique_id=name)) for name in ("a", "b", "c")]


def router(loads: dict[str, int]) -> Any:
    made = object.__new__(PrefixRouter)
    made._replica_queue_len_cache = SimpleNamespace(get=lambda replica: loads.get(replica.unique_id))
    return made


async def order(loads: dict[str, int], session: str, replicas: list[Any] = REPLICAS) -> list[str]:
    request: Any = SimpleNamespace(metadata=SimpleNamespace(session_id=session), routing_context=SimpleNamespace())
    ranks = await router(loads).choose_replicas(replicas, request)
    assert request.routing_context.should_backoff
    return [rank[0].replica_id.unique_id for rank in ranks]


async def test_a_session_keeps_its_replica_and_sessions_are_shared_out() -> None:
    firsts = {f"{i}": (await order({}, f"{i}"))[0] for i in range(60)}
    assert all([(await order({}, session))[0] == first for session, first in firsts.items()])
    assert set(firsts.values()) == {"a", "b", "c"}


async def test_only_the_sessions_of_a_lost_replica_move() -> None:
    for i in range(30):
        before = (await order({}, f"{i}"))[0]
        after = (await order({}, f"{i}", REPLICAS[:2]))[0]
        assert after == before or before == "c"


@pytest.mark.parametrize("ahead", [0, MOST_AHEAD, MOST_AHEAD + 1])
async def test_load_counts_only_when_it_is_far_apart(ahead: int) -> None:
    own = (await order({}, "s"))[0]
    found = await order({name: 3 + ahead * (name == own) for name in "abc"}, "s")
    assert (found[0] == own) == (ahead <= MOST_AHEAD)
    assert sorted(found) == ["a", "b", "c"]


async def test_without_a_session_the_least_loaded_comes_first() -> None:
    assert await order({"a": 2, "b": 0, "c": 1}, "") == ["b", "c", "a"]
