"""A pool of engines with one model: where a request goes, and what happens when its engine is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
import ray
from ray.actor import ActorHandle

from actors.engines.base import EngineError, EngineLostError, Generation, GenerationRequest, OnTokens, StopReason
from actors.engines.chunks import Chunk, as_chunks
from actors.engines.engine_pool import EnginePool
from actors.engines.remote import RemoteEngine
from actors.settings import SamplingSettings

GREEDY = SamplingSettings(temperature=0.0)


def request(*ids: int) -> GenerationRequest:
    return GenerationRequest(ids, 4, GREEDY)


def turn(ids: list[int]) -> Generation:
    nothing = np.zeros(len(ids), np.float32)
    return Generation(np.asarray(ids, np.int32), nothing, nothing.astype(np.int32), StopReason.LENGTH, 1, 0)


class Replica:
    """Writes its own number, after `gate` opens; fails with `error` while that is set."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.error: EngineError | None = None
        self.tells_first = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.seen: list[GenerationRequest] = []

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        self.seen.append(request)
        await self.gate.wait()
        if self.tells_first and on_tokens is not None:
            on_tokens([self.number], [0.0])
        if self.error is not None:
            raise self.error
        if on_tokens is not None and not self.tells_first:
            on_tokens([self.number], [0.0])
        return turn([self.number])


def prompt(topic: int, length: int = 64) -> list[int]:
    return [*range(8), *(topic * 1000 + i for i in range(length))]


async def writer(pool: EnginePool, ids: list[int]) -> int:
    return int((await pool.generate(request(*ids))).token_ids[0])


async def test_calls_of_one_sequence_stay_where_their_prefix_is() -> None:
    pool = EnginePool([Replica(i) for i in range(3)])
    first = {topic: await writer(pool, prompt(topic)) for topic in range(6)}
    assert set(first.values()) == {0, 1, 2}
    for topic in reversed(range(6)):
        for longer in (80, 120, 200):
            assert await writer(pool, prompt(topic, longer)) == first[topic]


async def test_a_beginning_that_all_prompts_share_does_not_bring_them_together() -> None:
    pool = EnginePool([Replica(i) for i in range(2)])
    shared = list(range(500, 532))
    went = [await writer(pool, [*shared, *prompt(topic, 100)]) for topic in range(6)]
    assert sorted(went) == [0, 0, 0, 1, 1, 1]


async def test_the_least_busy_engine_gets_the_next_call() -> None:
    replicas = [Replica(i) for i in range(2)]
    pool = EnginePool(replicas)
    replicas[0].gate.clear()
    held = asyncio.create_task(writer(pool, prompt(0)))
    while not replicas[0].seen:
        await asyncio.sleep(0)
    assert [await writer(pool, prompt(topic)) for topic in (1, 2, 3)] == [1, 1, 1]
    replicas[0].gate.set()
    assert await held == 0


async def test_a_prefix_does_not_outweigh_a_queue() -> None:
    replicas = [Replica(i) for i in range(2)]
    pool = EnginePool(replicas)
    home = replicas[await writer(pool, prompt(0))]
    home.gate.clear()
    calls = [asyncio.create_task(writer(pool, prompt(0, 64 + i))) for i in range(20)]
    other = replicas[1 - home.number]
    while len(home.seen) + len(other.seen) < 21:
        await asyncio.sleep(0)
    assert min(len(home.seen), len(other.seen)) >= 7
    home.gate.set()
    await asyncio.gather(*calls)


async def test_workers_begin_with_different_engines() -> None:
    begins = [await writer(EnginePool([Replica(i) for i in range(3)], first=worker), prompt(0)) for worker in range(4)]
    assert begins == [0, 1, 2, 0]


async def test_a_call_whose_engine_is_lost_goes_to_another_and_later_ones_too() -> None:
    now = 0.0
    replicas = [Replica(i) for i in range(3)]
    pool = EnginePool(replicas, clock=lambda: now)
    replicas[0].error = EngineLostError("gone")
    assert await writer(pool, prompt(0)) != 0
    assert len(replicas[0].seen) == 1
    assert 0 not in [await writer(pool, prompt(topic)) for topic in range(1, 6)]
    replicas[0].error, now = None, 60.0
    assert 0 in [await writer(pool, prompt(topic)) for topic in range(6, 12)]


@pytest.mark.parametrize("engines", [1, 3])
async def test_while_all_engines_are_lost_a_call_waits_until_one_is_back(engines: int) -> None:
    replicas = [Replica(i) for i in range(engines)]
    for replica in replicas:
        replica.error = EngineLostError("gone")
    call = asyncio.create_task(writer(EnginePool(replicas, again_s=0.0), prompt(0)))
    while min(len(replica.seen) for replica in replicas) < 3:
        await asyncio.sleep(0)
    assert not call.done()
    replicas[-1].error = None
    assert await call == replicas[-1].number


async def test_a_call_that_waits_ends_at_its_deadline() -> None:
    lost = Replica(0)
    lost.error = EngineLostError("gone")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await EnginePool([lost], again_s=0.001).generate(request(*prompt(0)))
    assert lost.seen


async def test_an_error_of_the_request_is_not_tried_elsewhere() -> None:
    replicas = [Replica(i) for i in range(2)]
    replicas[0].error = EngineError("too long")
    with pytest.raises(EngineError, match="too long"):
        await EnginePool(replicas).generate(request(*prompt(0)))
    assert replicas[1].seen == []


async def test_tokens_that_were_told_are_not_told_again() -> None:
    replicas = [Replica(i) for i in range(2)]
    replicas[0].error, replicas[0].tells_first = EngineLostError("gone"), True
    told: list[int] = []
    with pytest.raises(EngineLostError):
        await EnginePool(replicas).generate(request(*prompt(0)), lambda ids, _: told.extend(ids))
    assert told == [0]
    replicas[0].tells_first = False
    await EnginePool(replicas).generate(request(*prompt(0)), lambda ids, _: told.extend(ids))
    assert told == [0, 1]


class TeacherProcess:
    """An actor with an engine that writes its process id, or never answers."""

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        import os

        if request.max_tokens == 1:
            await asyncio.Event().wait()
        if on_tokens is not None:
            on_tokens([os.getpid()], [0.0])
        return turn([os.getpid()])

    async def chunks(self, request: GenerationRequest) -> AsyncIterator[Chunk | Generation]:
        async for chunk in as_chunks(self, request):
            yield chunk


@pytest.fixture
def teachers(ray_cluster: None) -> Iterator[list[ActorHandle[Any]]]:
    actors = [ray.remote(TeacherProcess).options(num_cpus=0, max_concurrency=100).remote() for _ in range(2)]
    yield actors
    for actor in actors:
        ray.kill(actor)


@pytest.mark.ray
async def test_a_killed_replicas_calls_are_answered_by_another(teachers: list[ActorHandle[Any]]) -> None:
    pool = EnginePool([RemoteEngine(actor) for actor in teachers])
    first, second = [await writer(pool, prompt(topic)) for topic in (0, 1)]
    assert first != second
    told: list[int] = []
    ray.kill(teachers[0])
    generation = await pool.generate(
        request(*prompt(0, 100)), lambda ids, _: told.extend(ids)
    )  # its prefix is on the one that is gone
    assert generation.token_ids.tolist() == told == [second]
    assert [await writer(pool, prompt(topic)) for topic in (2, 3)] == [second, second]


@pytest.mark.ray
async def test_a_call_under_way_moves_when_its_replica_is_killed(teachers: list[ActorHandle[Any]]) -> None:
    pool = EnginePool([RemoteEngine(actor) for actor in teachers])
    await asyncio.gather(*(writer(pool, prompt(topic)) for topic in (0, 1)))
    never = GenerationRequest(prompt(2), 1, GREEDY)
    call = asyncio.create_task(pool.generate(never))
    while not any(pool._loads):
        await asyncio.sleep(0)
    busy = pool._loads.index(1)
    ray.kill(teachers[busy])
    while not pool._loads[1 - busy]:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert pool._loads == [0, 0]


def test_a_pool_has_an_engine() -> None:
    with pytest.raises(ValueError, match="at least one engine"):
        EnginePool([])
