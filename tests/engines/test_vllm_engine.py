"""The real vLLM engine: exact log-probs, stops, prefix cache, live weight updates, refusals, cancellation."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import AutoTokenizer, Qwen3ForCausalLM

from actors.engines.base import EngineError, GenerationRequest, StopReason
from actors.engines.vllm import VllmEngine
from actors.settings import EngineSettings, SamplingSettings
from cluster.devices import Device, engine_environment
from cluster.transfer_actions import Begin, End, Receive, TransferAction
from cluster.weight_transport import InFlight
from tests.engines.reference import PROMPT, changed_model, disturbed, reference_logprobs

SETTINGS = EngineSettings(dtype="float32", max_model_len=128, max_num_seqs=64, block_size=32)
VARIED = SamplingSettings(temperature=2.0)


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[VllmEngine]:
    os.environ.update(engine_environment(Device.CPU, threads=1))
    engine = VllmEngine(str(tiny_model), SETTINGS, Device.CPU, seed=0)
    yield engine
    engine.shutdown()


async def test_logprobs_are_those_of_the_logits_over_the_temperature(engine: VllmEngine, tiny_model: Path) -> None:
    model = Qwen3ForCausalLM.from_pretrained(tiny_model)
    for temperature in (1.0, 0.7):
        request = GenerationRequest(PROMPT, 24, SamplingSettings(temperature=temperature), want_logprobs=True)
        generation = await engine.generate(request)
        expected = reference_logprobs(model, generation.token_ids, temperature)
        np.testing.assert_allclose(generation.logprobs, expected, atol=2e-4)


async def test_concurrent_requests_share_a_batch_and_get_their_own_answers(engine: VllmEngine) -> None:
    steps = engine.load.steps
    greedy = SamplingSettings(temperature=0.0)
    prompts = [(3, 6 + i % 10, 6 + i // 10, 2, 4) for i in range(40)]
    together = await asyncio.gather(*(engine.generate(GenerationRequest(p, 16, greedy)) for p in prompts))
    assert engine.load.steps - steps < 40
    for prompt, generation in list(zip(prompts, together, strict=True))[::13]:
        alone = await engine.generate(GenerationRequest(prompt, 16, greedy))
        assert alone.token_ids.tolist() == generation.token_ids.tolist()


async def test_tokens_are_told_while_they_are_written(engine: VllmEngine) -> None:
    told: list[tuple[list[int], list[float]]] = []
    request = GenerationRequest(PROMPT, 24, SamplingSettings(), want_logprobs=True)

    generation = await engine.generate(request, lambda ids, logprobs: told.append((ids, logprobs)))

    assert [token for ids, _ in told for token in ids] == generation.token_ids.tolist()
    np.testing.assert_array_equal([one for _, logprobs in told for one in logprobs], generation.logprobs)
    assert len(told) == len(generation.token_ids)


async def test_nothing_is_told_after_a_turn_is_cancelled(engine: VllmEngine) -> None:
    told: list[int] = []
    begun = asyncio.Event()

    def on_tokens(ids: list[int], logprobs: list[float]) -> None:
        told.extend(ids)
        begun.set()

    turn = asyncio.ensure_future(engine.generate(GenerationRequest(PROMPT, 110, SamplingSettings()), on_tokens))
    await begun.wait()
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    before = len(told)
    await engine.generate(GenerationRequest(PROMPT, 24, SamplingSettings()))

    assert len(told) == before
    assert not engine._followers


@pytest.fixture
async def varied_engine(engine: VllmEngine, tiny_model: Path) -> AsyncIterator[VllmEngine]:
    """The engine with weights whose next token is uncertain, as the model's own is not."""
    weights = load_file(tiny_model / "model.safetensors")
    await engine.update_weights(disturbed(weights, seed=0), version=8)
    yield engine
    await engine.update_weights(weights, version=0)


async def test_a_seeded_turn_is_the_same_whatever_the_engine_decodes_beside_it(varied_engine: VllmEngine) -> None:
    engine = varied_engine

    def turn(seed: int | None) -> GenerationRequest:
        return GenerationRequest(PROMPT, 24, VARIED, seed=seed)

    alone = await engine.generate(turn(5))
    crowd = await asyncio.gather(*(engine.generate(turn(seed)) for seed in [None, 1, 2, 5, None, 6, 5]))
    again = [crowd[3], crowd[6]]
    assert all(found.token_ids.tolist() == alone.token_ids.tolist() for found in again)
    assert len({tuple(found.token_ids.tolist()) for found in crowd}) == 6


async def test_seeded_turns_whose_prompts_do_not_fit_into_one_step_are_drawn_as_alone(
    varied_engine: VllmEngine,
) -> None:
    engine = varied_engine
    prompts = [
        tuple(6 + (i + t) % 20 for t in range(100 + i % 20)) for i in range(60)
    ]  # more tokens than the engine takes in one step
    requests = [GenerationRequest(p, 4, VARIED, seed=i) for i, p in enumerate(prompts)]
    together = await asyncio.gather(*map(engine.generate, requests))
    for request, found in list(zip(requests, together, strict=True))[::17]:
        assert (await engine.generate(request)).token_ids.tolist() == found.token_ids.tolist()


async def test_new_weights_replace_the_old_ones_without_a_trace(engine: VllmEngine, tiny_model: Path) -> None:
    weights = load_file(tiny_model / "model.safetensors")
    changed = disturbed(weights, seed=0)
    request = GenerationRequest(tuple(range(6, 46)), 24, SamplingSettings(), want_logprobs=True)
    await engine.generate(request)  # fills the prefix cache under the old weights
    await engine.update_weights(changed, version=7)
    generation = await engine.generate(request)
    model = changed_model(tiny_model, changed)
    expected = reference_logprobs(model, generation.token_ids, 1.0, tuple(request.prompt_ids))
    np.testing.assert_allclose(generation.logprobs, expected, atol=2e-4)
    assert set(generation.versions.tolist()) == {7}
    await engine.update_weights(weights, version=0)


async def test_a_weight_update_waits_for_the_turns_in_flight(engine: VllmEngine, tiny_model: Path) -> None:
    weights = load_file(tiny_model / "model.safetensors")
    request = GenerationRequest(PROMPT, 60, SamplingSettings())
    before = [asyncio.create_task(engine.generate(request)) for _ in range(8)]
    await asyncio.sleep(0)
    update = asyncio.create_task(engine.update_weights(weights, version=3))
    await asyncio.sleep(0)
    after = [asyncio.create_task(engine.generate(request)) for _ in range(8)]
    assert {v for g in await asyncio.gather(*before) for v in g.versions.tolist()} == {0}
    await update
    assert {v for g in await asyncio.gather(*after) for v in g.versions.tolist()} == {3}
    await engine.update_weights(weights, version=0)


async def test_turns_in_flight_go_on_under_the_new_weights_if_so_asked(
    engine: VllmEngine, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load_file(tiny_model / "model.safetensors")
    changed = disturbed(weights, seed=1)
    prompt = tuple(range(6, 46))
    request = GenerationRequest(prompt, 80, SamplingSettings(), want_logprobs=True)
    loop, reached, asked = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    real_step, steps = engine._engine.step, itertools.count(1)

    def step() -> Any:
        if next(steps) == 8:
            loop.call_soon_threadsafe(reached.set)
            asked.wait(60)
        return real_step()

    monkeypatch.setattr(engine._engine, "step", step)
    turns = [asyncio.create_task(engine.generate(request)) for _ in range(8)]
    await reached.wait()
    update = asyncio.create_task(engine.update_weights(changed, version=4, in_flight=InFlight.CONTINUE))
    await asyncio.sleep(0)
    asked.set()
    answers = await asyncio.gather(*turns)
    await update
    old, new = Qwen3ForCausalLM.from_pretrained(tiny_model), changed_model(tiny_model, changed)
    assert any(set(answer.versions.tolist()) == {0, 4} for answer in answers)
    for answer in answers:
        assert np.all(np.diff(answer.versions) >= 0)
        under_old = reference_logprobs(old, answer.token_ids, 1.0, prompt)
        under_new = reference_logprobs(new, answer.token_ids, 1.0, prompt)
        expected = np.where(answer.versions == 0, under_old, under_new)
        np.testing.assert_allclose(answer.logprobs, expected, atol=2e-4)
    await engine.update_weights(weights, version=0)


async def test_weights_that_do_not_fit_are_refused_and_the_turns_in_flight_are_kept(engine: VllmEngine) -> None:
    with pytest.raises(EngineError, match="loading policy version 5 failed"):
        await engine.update_weights({}, version=5)
    assert engine.version == 0
    assert len((await engine.generate(GenerationRequest(PROMPT, 8, SamplingSettings()))).token_ids) > 0


async def test_during_a_transfer_only_its_own_calls_are_served(
    engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[TransferAction] = []
    monkeypatch.setattr(engine._weights, "transfer", done.append)
    request = GenerationRequest(PROMPT, 8, SamplingSettings())
    await engine.transfer(Begin(InFlight.FINISH))
    turn = asyncio.create_task(engine.generate(request))
    await engine.transfer(Receive({}))
    await asyncio.sleep(0.2)
    assert not turn.done()
    await engine.transfer(End(1))
    assert len((await turn).token_ids) > 0
    assert done == [Begin(InFlight.FINISH), Receive({}), End(1)]


async def test_a_prompt_that_comes_back_longer_is_found_in_the_prefix_cache(engine: VllmEngine) -> None:
    sampling = SamplingSettings(temperature=0.0)
    prompt = tuple(np.random.default_rng(5).integers(6, 28, 50).tolist())
    first = await engine.generate(GenerationRequest(prompt, 20, sampling))
    again = (*prompt, *first.token_ids.tolist(), 9, 9)
    second = await engine.generate(GenerationRequest(again, 4, sampling))
    assert (first.prompt_tokens, first.cached_tokens) == (50, 0)
    assert (second.prompt_tokens, second.cached_tokens) == (len(again), 32 * ((50 + len(first.token_ids) - 1) // 32))
    assert second.cached_tokens > 0


async def test_a_turn_ends_with_the_command_and_not_before(tiny_model: Path, engine: VllmEngine) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    requests = [GenerationRequest((*PROMPT, i), 80, SamplingSettings(), stop_text="</call>") for i in range(6, 26)]
    for generation in await asyncio.gather(*(engine.generate(request) for request in requests)):
        text = tokenizer.decode(generation.token_ids)
        assert ("</call>" in text) == (generation.stop is StopReason.STOP_TEXT) == text.endswith("</call>")
        assert (generation.token_ids[-1] == tokenizer.eos_token_id) == (generation.stop is StopReason.END_OF_TEXT)


async def test_a_prompt_that_does_not_fit_is_refused_and_the_engine_lives_on(engine: VllmEngine) -> None:
    with pytest.raises(EngineError, match="maximum model length"):
        await engine.generate(GenerationRequest(PROMPT * 30, 8, SamplingSettings()))
    assert len((await engine.generate(GenerationRequest(PROMPT, 8, SamplingSettings()))).token_ids) > 0


async def test_a_cancelled_turn_leaves_the_engine(engine: VllmEngine) -> None:
    turn = asyncio.create_task(engine.generate(GenerationRequest(PROMPT, 100, SamplingSettings())))
    await asyncio.sleep(0)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    await engine.generate(GenerationRequest(PROMPT, 2, SamplingSettings()))
    assert engine._engine.get_num_unfinished_requests() == 0


async def test_tokens_count_as_they_are_written_and_not_when_a_turn_ends(varied_engine: VllmEngine) -> None:
    before = varied_engine.load.generated_tokens
    turn = asyncio.create_task(varied_engine.generate(GenerationRequest(PROMPT, 100, VARIED)))
    while varied_engine.load.generated_tokens < before + 3 and not turn.done():
        await asyncio.sleep(0)
    assert not turn.done()
    written = len((await turn).token_ids)
    while varied_engine.load.generated_tokens < before + written:
        await asyncio.sleep(0)
    assert varied_engine.load.generated_tokens == before + written


# The tests below shut engines down, and with them the process groups of `engine`: they come last.


async def test_a_live_update_leaves_what_a_fresh_engine_has(
    engine: VllmEngine, tiny_model: Path, tmp_path: Path
) -> None:
    weights = load_file(tiny_model / "model.safetensors")
    changed = disturbed(weights, seed=2)
    exported = shutil.copytree(tiny_model, tmp_path / "exported")
    save_file(changed, exported / "model.safetensors", metadata={"format": "pt"})
    greedy = GenerationRequest(PROMPT, 40, SamplingSettings(temperature=0.0), want_logprobs=True)
    await engine.update_weights(changed, version=9)
    live = await engine.generate(greedy)
    await engine.update_weights(weights, version=0)
    fresh = VllmEngine(str(exported), SETTINGS, Device.CPU, seed=0)
    try:
        expected = await fresh.generate(greedy)
    finally:
        fresh.shutdown()
    assert live.token_ids.tolist() == expected.token_ids.tolist()
    np.testing.assert_allclose(live.logprobs, expected.logprobs, atol=1e-5)


async def test_everyone_who_waits_is_told_when_the_engine_dies(tiny_model: Path) -> None:
    engine = VllmEngine(str(tiny_model), SETTINGS, Device.CPU, seed=0)

    def broken() -> None:
        raise RuntimeError("out of memory")

    engine._engine.step = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(EngineError, match="out of memory"):
        await engine.generate(GenerationRequest(PROMPT, 8, SamplingSettings()))
    with pytest.raises(EngineError, match="out of memory"):
        await engine.update_weights({}, version=1)
    engine.shutdown()
