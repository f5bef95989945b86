"""Routed decoding against a plain loop, at its limits, and where the right routing is known."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.citer.decoding import VocabularyError, require_equal_vocabularies
from actors.citer.fitting import fit_router
from actors.citer.labels import Label, Reference, label_tokens, student_choices
from actors.citer.router import RouterSpec, TokenRouter
from actors.citer.settings import RouterSettings
from actors.citer.student import UnsupportedStudentError, load_student
from actors.engines.base import EngineError, GenerationRequest
from actors.relay.handoff import RelayPrompt
from actors.settings import SamplingSettings
from actors.trajectory import CallEnding, FinishReason, Source
from tests.citer.conftest import MAX_NEW_TOKENS, Toy, policy
from tests.scripted import ScriptedEngine


def some_router(toy: Toy) -> TokenRouter:
    """A router that sends about half of the tokens to the teacher."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TokenRouter(RouterSpec(hidden_size=toy.model.config.hidden_size)).eval()


def plain(toy: Toy, prompt: RelayPrompt, router: TokenRouter, threshold: float) -> tuple[list[int], list[int]]:
    """Tokens and sources of one answer: no batch, no cache."""
    ids, sources = list(prompt.student_ids), []
    while len(sources) < MAX_NEW_TOKENS and (not sources or ids[-1] != toy.tokenizer.eos_token_id):
        hidden, logits = toy.states(ids)
        by_teacher = router.confidence(hidden[None]).item() < threshold
        ids.append(toy.teacher_token(ids) if by_teacher else int(logits.argmax()))
        sources.append(int(by_teacher))
    return ids[len(prompt.student_ids) :], sources


@pytest.mark.parametrize("max_sequences", [1, 3, 20])
async def test_batches_of_any_size_decode_as_a_plain_loop_does(toy: Toy, max_sequences: int) -> None:
    router, prompts = some_router(toy), toy.prompts(12, seed=1)
    confidences = [router.confidence(toy.states(prompt.student_ids)[0][None]).item() for prompt in prompts]
    threshold = float(np.median(confidences)) + 1e-4
    decoded = await toy.decoder(max_sequences=max_sequences).decode(prompts, policy(router=router, threshold=threshold))
    found = [(row.token_ids.tolist(), row.sources.tolist()) for row in decoded]
    assert found == [plain(toy, prompt, router, threshold) for prompt in prompts]
    assert {source for _, sources in found for source in sources} == {Source.STUDENT, Source.TEACHER}


async def test_at_threshold_0_the_student_writes_everything(toy: Toy) -> None:
    prompts, teacher = toy.prompts(6, seed=2), toy.teacher()
    routed = await toy.decoder(teacher).decode(prompts, policy(router=some_router(toy), threshold=0.0))
    alone = await toy.decoder(teacher).decode(prompts, policy(router=None, threshold=1.0))
    assert teacher.requests == []
    for prompt, row, other in zip(prompts, routed, alone, strict=True):
        ids = list(prompt.student_ids)
        for token in row.token_ids.tolist():
            assert token == toy.student_token(ids)
            ids.append(token)
        assert row.token_ids.tolist() == other.token_ids.tolist()
        assert row.calls == ()


async def test_at_threshold_1_the_teacher_writes_everything(toy: Toy) -> None:
    prompts = toy.prompts(6, seed=3)
    rows = await toy.decoder().decode(prompts, policy(router=some_router(toy), threshold=1.0))
    assert [row.token_ids.tolist() for row in rows] == [toy.solution(prompt.student_ids) for prompt in prompts]
    assert all(row.call_ratio == 1 and len(row.calls) == 1 for row in rows)


async def test_a_trained_router_gives_the_teacher_exactly_what_the_student_does_not_know(toy: Toy) -> None:
    teacher = toy.teacher()
    references = [Reference(prompt, tuple(toy.solution(prompt.student_ids))) for prompt in toy.prompts(80, seed=4)]
    tokens = await label_tokens(references, *student_choices(toy.model, references), teacher, timeout_s=60)
    router, _ = fit_router(
        torch.from_numpy(tokens.hidden), torch.from_numpy(tokens.label == Label.STUDENT),
        torch.from_numpy(tokens.solution), RouterSettings(), seed=0,
    )  # fmt: skip
    prompts = toy.prompts(20, seed=5)
    rows = await toy.decoder(teacher).decode(prompts, policy(router=router, threshold=0.5))
    sent, hard = [], []
    for prompt, row in zip(prompts, rows, strict=True):
        ids = [*prompt.student_ids, *row.token_ids.tolist()]
        hard += [toy.is_hard(ids[:end]) for end in range(len(prompt.student_ids), len(ids))]
        sent += row.sources.tolist()
    assert 0.1 < np.mean(hard) < 0.9
    assert np.mean(np.array(sent, bool) == np.array(hard)) >= 0.95
    right = [row.token_ids.tolist() == toy.solution(p.student_ids) for p, row in zip(prompts, rows, strict=True)]
    assert np.mean(right) >= 0.7


async def test_sampling_is_reproducible_whatever_the_batch_and_differs_by_seed(toy: Toy) -> None:
    prompts, sampling = toy.prompts(5, seed=6), SamplingSettings(temperature=1.5)

    async def tokens(seed: int, max_sequences: int) -> list[list[int]]:
        decoder = toy.decoder(max_sequences=max_sequences)
        rows = await decoder.decode(prompts, policy(sampling=sampling, seed=seed))
        return [row.token_ids.tolist() for row in rows]

    first = await tokens(0, 8)
    assert first == await tokens(0, 2)
    assert first != await tokens(1, 8)


async def test_output_that_was_begun_is_continued_and_not_repeated(toy: Toy) -> None:
    (prompt,) = toy.prompts(1, seed=7)
    (whole,) = await toy.decoder().decode([prompt], policy())
    begun = tuple(whole.token_ids.tolist()[:5])
    (continued,) = await toy.decoder().decode([prompt], policy(), [begun])
    assert continued.token_ids.tolist() == whole.token_ids.tolist()


async def test_a_sequence_that_waits_for_the_teacher_holds_up_no_other(toy: Toy) -> None:
    asked, released = asyncio.Event(), asyncio.Event()

    async def before(request: GenerationRequest) -> None:
        asked.set()
        await released.wait()

    engine = ScriptedEngine(toy.tokenizer, lambda _: [], before=before)
    decoder = toy.decoder(engine)
    first, *others = toy.prompts(4, seed=8)
    waiting = asyncio.create_task(decoder.decode([first], policy(router=some_router(toy), threshold=1.0)))
    await asked.wait()
    assert len(await decoder.decode(others, policy())) == 3
    assert not waiting.done()
    released.set()
    assert [row.finish for row in await waiting] == [FinishReason.TEACHER_END]


async def test_after_a_failed_token_the_student_finishes_alone(toy: Toy) -> None:
    failing = ScriptedEngine(toy.tokenizer, lambda _: EngineError("out of order"))
    prompts = toy.prompts(3, seed=9)
    rows = await toy.decoder(failing).decode(prompts, policy(router=some_router(toy), threshold=1.0))
    alone = await toy.decoder().decode(prompts, policy())
    assert len(failing.requests) == 3
    for row, other in zip(rows, alone, strict=True):
        assert row.token_ids.tolist() == other.token_ids.tolist()
        assert [call.ending for call in row.calls] == [CallEnding.FAILED]


async def test_a_teacher_without_an_answer_in_time_has_failed(toy: Toy) -> None:
    async def for_ever(_: GenerationRequest) -> None:
        await asyncio.Event().wait()

    silent = ScriptedEngine(toy.tokenizer, lambda _: [], before=for_ever)
    prompts = toy.prompts(1, seed=10)
    (row,) = await toy.decoder(silent).decode(
        prompts, policy(router=some_router(toy), threshold=1.0, teacher_timeout_s=0.01)
    )
    assert row.calls[0].ending is CallEnding.FAILED
    assert silent.in_flight == 0


async def test_a_context_that_the_teacher_cannot_hold_is_a_failed_token_and_is_not_cut(toy: Toy) -> None:
    (prompt,) = toy.prompts(1, seed=11)
    teacher = toy.teacher()
    context_tokens = len(prompt.teacher_ids) + 3
    decoder = toy.decoder(teacher, context_tokens=context_tokens)
    (row,) = await decoder.decode([prompt], policy(router=some_router(toy), threshold=1.0))
    assert row.sources.tolist()[:4] == [1, 1, 1, 0]
    assert max(len(request.prompt_ids) for request in teacher.requests) < context_tokens


async def test_a_prompt_without_room_is_an_error(toy: Toy) -> None:
    prompt = RelayPrompt(tuple([7] * 64), (5,))
    with pytest.raises(ValueError, match="64 tokens, and the student's context of 64"):
        await toy.decoder().decode([prompt], policy())


async def test_a_student_that_fails_is_raised_and_the_decoder_goes_on(toy: Toy) -> None:
    decoder, (prompt,) = toy.decoder(max_sequences=1), toy.prompts(1, seed=12)
    out_of_vocabulary = RelayPrompt((10_000,), (5,))
    with pytest.raises(IndexError):
        await decoder.decode([out_of_vocabulary], policy())
    assert len(await decoder.decode([prompt], policy())) == 1


def test_different_vocabularies_are_refused() -> None:
    require_equal_vocabularies({"a": 0, "b": 1}, {"b": 1, "a": 0})
    with pytest.raises(VocabularyError, match="equal vocabularies, but student and teacher differ in 2 entries"):
        require_equal_vocabularies({"a": 0, "b": 1}, {"a": 0, "b": 2})


def test_a_student_with_sliding_windows_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, Qwen3ForCausalLM

    config = AutoConfig.from_pretrained(tiny_model)
    config.use_sliding_window, config.sliding_window = True, 8
    config.layer_types = ["full_attention", "sliding_attention"]
    Qwen3ForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedStudentError, match="sliding_attention"):
        load_student(str(tmp_path), torch.float32, torch.device("cpu"))
