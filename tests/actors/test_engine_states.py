"""An actor with an engine knows what it is doing."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from actors.engine_host import EngineHost
from actors.engines.base import Generation, GenerationRequest, OnTokens, StopReason
from actors.settings import SamplingSettings
from cluster.metrics.states import ActorState

REQUEST = GenerationRequest(prompt_ids=[1], max_tokens=1, sampling=SamplingSettings())


class Engine:
    """Notes the state of its host during each call."""

    def __init__(self, host: EngineHost) -> None:
        self.host = host
        self.seen: list[ActorState] = []

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        self.seen.append(self.host.states.state)
        nothing = np.zeros(1, np.int32)
        return Generation(nothing, np.zeros(1, np.float32), nothing, StopReason.LENGTH, 1, 0)

    async def sleep(self, keep_weights: bool) -> None:
        self.seen.append(self.host.states.state)

    async def wake_kv_cache(self) -> None:
        self.seen.append(self.host.states.state)


class Host(EngineHost):
    def __init__(self) -> None:
        self.finished = 0
        self.engine = Engine(self)  # type: ignore[assignment]


class LateHost(EngineHost):
    """Its engine starts when it is needed."""

    def __init__(self) -> None:
        self.seen: list[ActorState] = []

    def _start_engine(self) -> Any:  # type: ignore[override]
        self.seen.append(self.states.state)
        return Engine(self)


def test_a_host_writes_while_a_turn_is_written_and_is_idle_before_and_after() -> None:
    host = Host()
    assert host.states.state is ActorState.IDLE
    asyncio.run(host.generate(REQUEST))
    assert host.engine.seen == [ActorState.WRITING]  # type: ignore[attr-defined]
    assert host.states.state is ActorState.IDLE


def test_a_host_sleeps_until_it_has_its_kv_cache_again() -> None:
    host = Host()

    async def twice_asleep() -> list[ActorState]:
        await host.sleep(True)
        await host.sleep(True)
        asleep = host.states.state
        await host.wake_kv_cache()
        return [asleep, host.states.state]

    assert asyncio.run(twice_asleep()) == [ActorState.ASLEEP, ActorState.IDLE]


def test_readings_start_no_engine_and_a_start_is_a_state() -> None:
    host = LateHost()
    names = {reading.name for reading in host.readings()}
    assert host.seen == [] and names == {"relayllm_actor_state", "relayllm_state_seconds"}
    _ = host.engine
    assert host.seen == [ActorState.STARTING] and host.states.state is ActorState.IDLE
