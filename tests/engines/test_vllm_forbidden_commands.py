"""Forbidden commands in the real vLLM engine, with a student that would write nothing but commands."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, Qwen3ForCausalLM

from actors.engines.base import EngineError
from actors.engines.vllm import VllmEngine
from actors.relay.grammar import CommandGrammar, token_holding
from actors.relay.handoff import IdHandoff, RelayPrompt
from actors.relay.loop import relay_all
from actors.relay.sequence import RelaySetup
from actors.relay.tokenizer import TransformersTokenizer
from actors.settings import EngineSettings, RelayLimits, SamplingSettings
from actors.tiny_models import CommandTokens, TinyModelSettings, write_config, write_tokenizer
from actors.trajectory import Trajectory
from cluster.devices import Device, engine_environment
from tests.scripted import ScriptedEngine

HABIT = "7<4<call>5</call>"
PROMPT = "7<4"
OUTPUT_TOKENS = 60
SETTINGS = EngineSettings(dtype="float32", max_model_len=128, max_num_seqs=64, block_size=32)


@dataclass(frozen=True)
class Caller:
    """A student that has learned to write `HABIT` over and over."""

    model: Qwen3ForCausalLM
    engine: VllmEngine
    tokenizer: TransformersTokenizer

    def alone(
        self, count: int = 20, temperature: float = 1.0, max_calls: int = 0, seeds: Sequence[int] | None = None
    ) -> list[Trajectory]:
        """Answers of the student alone; with calls, up to the first one, which fails for want of a teacher."""
        ids = tuple(self.tokenizer.encode(PROMPT))
        setup = RelaySetup(
            grammar=CommandGrammar(self.tokenizer),
            handoff=IdHandoff(),
            limits=RelayLimits(max_new_tokens=OUTPUT_TOKENS, max_calls=max_calls),
            student_sampling=SamplingSettings(temperature=temperature),
            teacher_sampling=SamplingSettings(),
            student_context_tokens=SETTINGS.max_model_len,
            teacher_context_tokens=SETTINGS.max_model_len,
            want_logprobs=True,
        )
        teacher = ScriptedEngine(self.tokenizer, lambda _: EngineError("no teacher")) if max_calls else None
        return asyncio.run(relay_all([RelayPrompt(ids, ids)] * count, setup, self.engine, teacher, seeds=seeds))

    def greedy_answer(self) -> tuple[list[int], list[bool]]:
        """What the model writes with no command, token by token, and which tokens were drawn again."""
        grammar = CommandGrammar(self.tokenizer)
        prompt, output = self.tokenizer.encode(PROMPT), list[int]()
        beginnings, redrawn = list[int](), set[tuple[int, ...]]()
        while len(output) < OUTPUT_TOKENS and self.tokenizer.eos_token_id not in output:
            with torch.no_grad():
                logits = self.model(torch.tensor([[*prompt, *output]])).logits[0, -1]
            logits[[*grammar.banned, *(beginnings if tuple(output) in redrawn else ())]] = -torch.inf
            output.append(int(logits.argmax()))
            begun = self.tokenizer.decode(output).find("<call")
            if begun >= 0:
                place = token_holding(grammar.pieces(output), begun + 1)
                beginnings.append(output[place])
                output = output[:place]
                redrawn.add(tuple(output))
        return output, [tuple(output[:i]) in redrawn for i in range(len(output))]

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


def test_the_student_wants_to_call_all_the_time(student: Caller) -> None:
    assert all(answer.calls for answer in student.alone(max_calls=1))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_student_that_wants_to_call_all_the_time_never_does(student: Caller, temperature: float) -> None:
    answers = student.alone(temperature=temperature)
    assert not any("<call" in answer.text for answer in answers)
    assert all(0 < len(answer.token_ids) <= OUTPUT_TOKENS for answer in answers)


def test_forbidding_commands_leaves_other_uses_of_a_bracket(student: Caller) -> None:
    assert any("7<4" in answer.text for answer in student.alone(40))


def test_a_greedy_answer_is_the_models_own_with_commands_taken_back(student: Caller) -> None:
    (answer,) = student.alone(1, temperature=0.0)
    ids, constrained = student.greedy_answer()
    assert answer.token_ids.tolist() == ids
    assert answer.constrained.tolist() == constrained


def test_one_seed_gives_one_answer(student: Caller) -> None:
    first, second = (student.alone(8, seeds=range(8)) for _ in range(2))
    assert [answer.text for answer in first] == [answer.text for answer in second]
    assert len({answer.text for answer in first}) > 1


def test_log_probs_are_the_policys_but_where_a_token_was_drawn_again(student: Caller) -> None:
    banned = list(CommandGrammar(student.tokenizer).banned)
    answers = student.alone(12)
    for answer in answers:
        logprobs = student.policy_logprobs(answer)
        policy = logprobs[np.arange(len(answer.token_ids)), answer.token_ids]
        without_banned = policy - np.log1p(-np.exp(logprobs[:, banned]).sum(1))
        np.testing.assert_allclose(answer.logprobs[~answer.constrained], without_banned[~answer.constrained], atol=1e-3)
        assert (answer.logprobs[answer.constrained] > policy[answer.constrained]).all()
    if not banned:
        assert any(answer.constrained.any() for answer in answers)
