"""A vLLM engine whose core has a process of its own, as on GPUs: weights through shared memory, and turns that go on; sleep."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import Qwen3ForCausalLM

from actors.engines.base import EngineError, GenerationRequest
from actors.engines.vllm import VllmEngine
from actors.settings import EngineSettings, SamplingSettings
from cluster.devices import Device, engine_environment
from cluster.weight_transport import InFlight
from tests.engines.reference import PROMPT, changed_model, disturbed, reference_logprobs

SETTINGS = EngineSettings(dtype="float32", max_model_len=256, max_num_seqs=64, block_size=32)


@contextmanager
def started(tiny_model: Path) -> Iterator[VllmEngine]:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in engine_environment(Device.CPU, threads=1).items():
            patched.setenv(name, value)
        patched.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
        engine = VllmEngine(str(tiny_model), SETTINGS, Device.CPU, seed=0, sleeps=True)
        yield engine
        engine.shutdown()


@pytest.fixture(scope="module")
def shared_engine(tiny_model: Path) -> Iterator[VllmEngine]:
    with started(tiny_model) as engine:
        yield engine


@pytest.fixture
async def engine(shared_engine: VllmEngine, tiny_model: Path) -> AsyncIterator[VllmEngine]:
    """An engine with the weights on disk, before the test and after it."""
    yield shared_engine
    await shared_engine.update_weights(load_file(tiny_model / "model.safetensors"), version=0)


async def test_turns_in_flight_go_on_under_weights_from_shared_memory(engine: VllmEngine, tiny_model: Path) -> None:
    changed = disturbed(load_file(tiny_model / "model.safetensors"), seed=1)
    request = GenerationRequest(PROMPT, 240, SamplingSettings(), want_logprobs=True)
    turns = [asyncio.create_task(engine.generate(request)) for _ in range(32)]
    steps = engine.load.steps
    while engine.load.steps < steps + 8:
        await asyncio.sleep(0.001)
    segments = set(os.listdir("/dev/shm"))
    await engine.update_weights(changed, version=4, in_flight=InFlight.CONTINUE)
    assert set(os.listdir("/dev/shm")) <= segments
    old, new = Qwen3ForCausalLM.from_pretrained(tiny_model), changed_model(tiny_model, changed)
    answers = await asyncio.gather(*turns)
    assert any(set(answer.versions.tolist()) == {0, 4} for answer in answers)
    for answer in answers:
        under_old = reference_logprobs(old, answer.token_ids, 1.0)
        under_new = reference_logprobs(new, answer.token_ids, 1.0)
        expected = np.where(answer.versions == 0, under_old, under_new)
        np.testing.assert_allclose(answer.logprobs, expected, atol=2e-4)
    after = await engine.generate(request)
    assert set(after.versions.tolist()) == {4}
    np.testing.assert_allclose(after.logprobs, reference_logprobs(new, after.token_ids, 1.0), atol=2e-4)


async def test_after_a_sleep_turns_are_written_with_the_weights_that_came_before_the_kv_cache(
    engine: VllmEngine, tiny_model: Path
) -> None:
    changed = disturbed(load_file(tiny_model / "model.safetensors"), seed=2)
    request = GenerationRequest(PROMPT, 40, SamplingSettings(), want_logprobs=True)
    before = asyncio.create_task(engine.generate(request))
    await asyncio.sleep(0)
    await engine.sleep(keep_weights=False)
    assert set((await before).versions.tolist()) == {0}
    after = asyncio.create_task(engine.generate(request))
    await engine.wake_weights()
    await engine.update_weights(changed, version=4)
    assert not after.done()
    await engine.wake_kv_cache()
    answer = await after
    assert set(answer.versions.tolist()) == {4}
    expected = reference_logprobs(changed_model(tiny_model, changed), answer.token_ids, 1.0)
    np.testing.assert_allclose(answer.logprobs, expected, atol=2e-4)


@pytest.mark.slow
async def test_an_engine_whose_core_dies_in_its_sleep_is_dead(tiny_model: Path) -> None:
    with started(tiny_model) as engine:
        await engine.sleep(keep_weights=True)
        turn = asyncio.create_task(engine.generate(GenerationRequest(PROMPT, 4, SamplingSettings())))
        core = engine._engine.engine_core.resources
        for process in core.engine_manager.processes:
            process.kill()
        while not core.engine_dead:  # vLLM has not seen it yet
            await asyncio.sleep(0.001)
        with pytest.raises(EngineError, match="waking the weights failed"):
            await engine.wake_weights()
        with pytest.raises(EngineError, match="died"):
            engine.check()
        with pytest.raises(EngineError, match="died"):
            await turn


@pytest.mark.slow
async def test_a_core_ends_when_the_process_that_started_it_is_killed(tiny_model: Path) -> None:
    script = f"""
import os
from actors.engines.vllm import VllmEngine
from tests.engines.test_vllm_core_apart import SETTINGS
from cluster.devices import Device
engine = VllmEngine({str(tiny_model)!r}, SETTINGS, Device.CPU, seed=0)
print("core", engine._engine.engine_core.resources.engine_manager.processes[0].pid, flush=True)
os.kill(os.getpid(), 9)
"""
    environment = os.environ | engine_environment(Device.CPU, threads=1) | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    file = tiny_model.parent / "killed_owner.py"
    file.write_text("if __name__ == '__main__':" + script.replace("\n", "\n    "))
    path = os.pathsep.join([os.getcwd(), environment.get("PYTHONPATH", "")])
    owner = await asyncio.create_subprocess_exec(
        sys.executable, str(file), env=environment | {"PYTHONPATH": path}, stdout=asyncio.subprocess.PIPE
    )
    output = await owner.stdout.read()  # type: ignore[union-attr]  # to its end: the core holds the pipe, too
    core = next(int(line.split()[1]) for line in output.decode().splitlines() if line.startswith("core "))
    assert await owner.wait() == -9
    state = Path(f"/proc/{core}/status")
    assert not state.exists() or "State:\tZ" in state.read_text()
