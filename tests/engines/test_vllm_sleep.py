"""Sleep and waking on the real vLLM engine; on the CPU vLLM keeps the memory and does all else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from actors.engines.base import EngineError, GenerationRequest
from actors.engines.engine_thread import ANY_PHASE
from actors.engines.vllm import VllmEngine
from actors.settings import EngineSettings, SamplingSettings
from cluster.devices import Device, engine_environment
from cluster.shared_weights import Weights
from cluster.transfer_actions import Begin, End, Receive, TransferAction
from cluster.weight_transport import InFlight
from tests.engines.reference import PROMPT, changed_model, disturbed, reference_logprobs

SETTINGS = EngineSettings(dtype="float32", max_model_len=128, max_num_seqs=64, block_size=32)
LONG_PROMPT = tuple(range(6, 46))
REQUEST = GenerationRequest(LONG_PROMPT, 8, SamplingSettings(), want_logprobs=True)


@pytest.fixture(scope="module")
def shared_engine(tiny_model: Path) -> Iterator[VllmEngine]:
    os.environ.update(engine_environment(Device.CPU, threads=1) | {"VLLM_CPU_KVCACHE_SPACE": "3"})
    engine = VllmEngine(str(tiny_model), SETTINGS, Device.CPU, seed=0, sleeps=True)
    yield engine
    engine.shutdown()


@pytest.fixture
async def engine(shared_engine: VllmEngine, weights: Weights) -> AsyncIterator[VllmEngine]:
    """An engine that is awake, before the test and after it."""
    yield shared_engine
    await shared_engine.wake_weights()
    await shared_engine.update_weights(weights, version=0)
    await shared_engine.wake_kv_cache()


@pytest.fixture
def weights(tiny_model: Path) -> Weights:
    return load_file(tiny_model / "model.safetensors")


async def waits(task: asyncio.Task[Any], engine: VllmEngine) -> bool:
    """Whether a task still waits when the engine has seen all that it was sent before."""
    await asyncio.sleep(0)
    await engine._thread.call(lambda: None, "looking", phases=ANY_PHASE)
    return not task.done()


async def test_a_turn_asked_for_during_sleep_is_written_with_the_new_weights(
    engine: VllmEngine, tiny_model: Path, weights: Weights
) -> None:
    changed = disturbed(weights, seed=0)
    await engine.generate(REQUEST)
    await engine.sleep(keep_weights=False)
    turn = asyncio.create_task(engine.generate(REQUEST))
    assert await waits(turn, engine)
    await engine.wake_weights()
    assert await waits(turn, engine)
    await engine.update_weights(changed, version=1)
    assert await waits(turn, engine)
    await engine.wake_kv_cache()
    generation = await turn
    assert set(generation.versions.tolist()) == {1}
    assert generation.cached_tokens == 0
    expected = reference_logprobs(changed_model(tiny_model, changed), generation.token_ids, 1.0, LONG_PROMPT)
    np.testing.assert_allclose(generation.logprobs, expected, atol=2e-4)


async def test_the_kv_cache_is_as_large_as_the_settings_say_whatever_the_environment_does(engine: VllmEngine) -> None:
    assert engine._engine.vllm_config.cache_config.kv_cache_memory_bytes == SETTINGS.kv_cache_gib * 2**30


async def test_weights_for_a_transfer_that_was_not_started_are_refused(engine: VllmEngine) -> None:
    for sent in (engine.transfer(Receive({})), engine.transfer(End(7))):
        with pytest.raises(EngineError, match="no weight transfer is under way"):
            await sent
    assert engine.version == 0


async def test_kept_weights_write_on_with_an_empty_prefix_cache(engine: VllmEngine) -> None:
    await engine.generate(REQUEST)
    assert (await engine.generate(REQUEST)).cached_tokens > 0
    await engine.sleep(keep_weights=True)
    await engine.wake_weights()
    await engine.wake_kv_cache()
    generation = await engine.generate(REQUEST)
    assert (generation.cached_tokens, set(generation.versions.tolist())) == (0, {0})


async def test_sleep_comes_after_the_turns_in_flight(engine: VllmEngine) -> None:
    turns = [asyncio.create_task(engine.generate(GenerationRequest(PROMPT, 40, SamplingSettings()))) for _ in range(4)]
    await asyncio.sleep(0)
    await engine.sleep(keep_weights=True)
    assert engine._engine.get_num_unfinished_requests() == 0
    assert all(len(turn.token_ids) > 0 for turn in await asyncio.gather(*turns))


async def test_weights_sent_during_sleep_come_before_those_sent_when_their_memory_is_there(
    engine: VllmEngine, weights: Weights
) -> None:
    await engine.sleep(keep_weights=False)
    early = asyncio.create_task(engine.update_weights(weights, version=1))
    await asyncio.sleep(0)
    await engine.wake_weights()
    await engine.update_weights(weights, version=2)
    await early
    assert engine.version == 2


async def test_weights_are_received_from_the_learner_before_the_kv_cache_is_there(
    engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[TransferAction] = []
    monkeypatch.setattr(engine._weights, "transfer", done.append)
    await engine.sleep(keep_weights=False)
    turn = asyncio.create_task(engine.generate(REQUEST))
    await engine.wake_weights()
    await engine.transfer(Begin(InFlight.FINISH))
    await engine.transfer(Receive({}))
    await engine.transfer(End(1))
    assert await waits(turn, engine)
    await engine.wake_kv_cache()
    assert len((await turn).token_ids) > 0
    assert done == [Begin(InFlight.FINISH), Receive({}), End(1)]


async def test_the_kv_cache_is_not_woken_before_the_weights(engine: VllmEngine) -> None:
    await engine.sleep(keep_weights=True)
    with pytest.raises(EngineError, match=r"waking the KV cache failed: .*the weights are asleep"):
        await engine.wake_kv_cache()


async def test_an_engine_that_is_awake_is_not_woken_again(engine: VllmEngine) -> None:
    await engine.wake_weights()
    await engine.wake_kv_cache()
    assert len((await engine.generate(REQUEST)).token_ids) > 0


async def test_a_turn_that_is_given_up_during_sleep_leaves_nothing(engine: VllmEngine) -> None:
    await engine.sleep(keep_weights=True)
    turn = asyncio.create_task(engine.generate(REQUEST))
    await asyncio.sleep(0)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    await engine.wake_weights()
    await engine.wake_kv_cache()
    await engine.generate(REQUEST)
    assert engine._engine.get_num_unfinished_requests() == 0
    assert engine._turns == {}


async def test_memory_is_asked_for_in_vllms_own_words(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(engine._engine, "sleep", lambda level: asked.append(level))
    monkeypatch.setattr(engine._engine, "wake_up", lambda tags: asked.append(tags) or True)
    for keep_weights in (True, False):
        await engine.sleep(keep_weights)
        await engine.wake_weights()
        await engine.wake_kv_cache()
    assert asked == [1, ["weights"], ["kv_cache"], 2, ["weights"], ["kv_cache"]]


async def test_a_turn_that_waits_for_an_engine_to_wake_is_told_when_it_ends(tiny_model: Path) -> None:
    engine = VllmEngine(str(tiny_model), SETTINGS, Device.CPU, seed=0, sleeps=True)
    await engine.sleep(keep_weights=True)
    turn = asyncio.create_task(engine.generate(REQUEST))
    await asyncio.sleep(0)
    engine.shutdown()
    with pytest.raises(EngineError, match="shut down"):
        await turn


class Started(Exception):
    """Stands for an engine: there is no GPU to start one on."""


@pytest.mark.parametrize(
    ("device", "sleeps", "expected"),
    [(Device.GPU, True, True), (Device.GPU, False, False), (Device.CPU, True, False)],
)
def test_only_an_engine_on_a_gpu_that_is_to_sleep_has_vllms_sleep_mode(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path, device: Device, sleeps: bool, expected: bool
) -> None:
    from vllm.v1.engine.llm_engine import LLMEngine

    def start(arguments: Any) -> None:
        assert arguments.enable_sleep_mode is expected
        raise Started

    monkeypatch.setattr(LLMEngine, "from_engine_args", start)
    with pytest.raises(Started):
        VllmEngine(str(tiny_model), SETTINGS, device, seed=0, sleeps=sleeps)
