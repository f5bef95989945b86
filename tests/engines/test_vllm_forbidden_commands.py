"""Forbidden commands in the real vLLM engine, with a student that would write nothing but commands."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, Qwen3ForCausalLM

from actors.engines.base import GenerationRequest
from actors.engines.vllm import VllmEngine
from actors.relay.grammar import CommandGrammar
from actors.relay.handoff import IdHandoff, RelayPrompt
from actors.relay.loop import relay_all
from actors.relay.sequence import RelaySetup
from actors.relay.tokenizer import TransformersTokenizer
from actors.settings import EngineSettings, RelayLimits, SamplingSettings
from actors.tiny_models import CommandTokens, TinyModelSettings, write_config, write_tokenizer
from actors.trajectory import Trajectory
from cluster.devices import Device, engine_environment

HABIT = "7<4<call>5</call>"
PROMPT = "7<4"
OUTPUT_TOKENS = 60
SETTINGS = EngineSettings(dtype="float32", max_model_len=128, max_num_seqs=64, block_size=32)
SAMPLINGS = [SamplingSettings(temperature=0.0), SamplingSettings(temperature=1.0)]


@dataclass(frozen=True)
class Caller:
    """A student that has learned to write `HABIT` over and over."""

    model: Qwen3ForCausalLM
    engine: VllmEngine
    tokenizer: TransformersTokenizer

    def outputs(self, sampling: SamplingSettings, forbid_commands: bool, count: int = 40) -> list[list[int]]:
        request = GenerationRequest(
            self.tokenizer.encode(PROMPT), OUTPUT_TOKENS, sampling, forbid_commands=forbid_commands
        )

        async def write() -> list[list[int]]:
            written = await asyncio.gather(*(self.engine.generate(request) for _ in range(count)))
            return [generation.token_ids.tolist() for generation in written]

        return asyncio.run(write())

    def alone(self, count: int) -> list[Trajectory]:
        """Answers of the student alone, as the policy without calls decodes them."""
        ids = tuple(self.tokenizer.encode(PROMPT))
        setup = RelaySetup(
            grammar=CommandGrammar(self.tokenizer),
            handoff=IdHandoff(),
            limits=RelayLimits(max_new_tokens=OUTPUT_TOKENS, max_calls=0),
            student_sampling=SamplingSettings(temperature=1.0),
            teacher_sampling=SamplingSettings(),
            student_context_tokens=SETTINGS.max_model_len,
            teacher_context_tokens=SETTINGS.max_model_len,
            want_logprobs=True,
        )
        return asyncio.run(relay_all([RelayPrompt(ids, ids)] * count, setup, self.engine, None))

    def policy_logprobs(self, trajectory: Trajectory) -> np.ndarray:
        """[T, V] of the model itself, with nothing forbidden."""
        ids = torch.tensor([[*trajectory.prompt_ids.tolist(), *trajectory.token_ids.tolist()]])
        start = len(trajectory.prompt_ids)
        with torch.no_grad():
            return self.model(ids).logits[0, start - 1 : -1].log_softmax(-1).numpy()


def caller(folder: Path, command_tokens: CommandTokens) -> Caller:
    write_tokenizer(folder, command_tokens)
    write_config(folder, TinyModelSettings())
    tokenizer = TransformersTokenizer(AutoTokenizer.from_pretrained(folder))
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(AutoConfig.from_pretrained(folder)).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    habit = tokenizer.encode(HABIT * 12)[:96]
    batch = torch.tensor([habit[shift:] + habit[:shift] for shift in range(len(tokenizer.encode(HABIT)))])
    for _ in range(60):
        loss = model(batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    return Caller(model, VllmEngine(str(folder), SETTINGS, Device.CPU, seed=0), tokenizer)


@pytest.fixture(scope="module", params=["text", "special"])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    os.environ.update(engine_environment(Device.CPU, threads=1))
    student = caller(tmp_path_factory.mktemp(f"caller-{request.param}"), request.param)
    yield student
    student.engine.shutdown()


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "sampled"])
def test_a_student_that_wants_to_call_all_the_time_never_does(student: Caller, sampling: SamplingSettings) -> None:
    (banned,) = CommandGrammar(student.tokenizer).banned

    def calls(output: list[int]) -> bool:
        return any(tuple(output[i : i + len(banned)]) == banned for i in range(len(output)))

    free, forbidden = (student.outputs(sampling, forbid_commands) for forbid_commands in (False, True))
    assert all(map(calls, free))
    assert not any(map(calls, forbidden))


def test_forbidding_commands_leaves_other_uses_of_a_bracket(student: Caller) -> None:
    outputs = student.outputs(SamplingSettings(temperature=1.0), forbid_commands=True)
    assert any("7<4" in student.tokenizer.decode(output) for output in outputs)


def test_log_probs_are_the_policys_but_where_a_command_could_have_been_completed(student: Caller) -> None:
    (banned,) = CommandGrammar(student.tokenizer).banned
    for trajectory in student.alone(12):
        before = [*trajectory.prompt_ids[-1:].tolist(), *trajectory.token_ids[:-1].tolist()]
        completing = np.array([banned[:-1] in ((), (token,)) for token in before])
        logprobs = student.policy_logprobs(trajectory)
        policy = logprobs[np.arange(len(before)), trajectory.token_ids]
        without_banned = policy - np.log1p(-np.exp(logprobs[:, banned[-1]]))
        np.testing.assert_allclose(trajectory.logprobs, np.where(completing, without_banned, policy), atol=1e-3)
        assert trajectory.constrained.tolist() == (completing & (len(banned) > 1)).tolist()
