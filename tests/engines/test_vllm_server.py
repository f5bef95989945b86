"""HTTP teachers on vLLM's own OpenAI server, in all three modes, with an equal and with another tokenizer."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from actors.engines.base import Generation, GenerationRequest, StopReason
from actors.engines.endpoint import EndpointSettings, Mode, UnsuitableServerError, Wire
from actors.engines.openai import OpenAIEngine
from actors.engines.openai_probe import detect
from actors.relay.grammar import CommandGrammar
from actors.relay.handoff import ConversationHandoff, Handoff, IdHandoff, RelayPrompt, TextHandoff
from actors.relay.loop import relay_all
from actors.relay.sequence import RelaySetup
from actors.relay.tokenizer import TransformersTokenizer
from actors.settings import RelayLimits, SamplingSettings
from actors.tiny_models import write_tokenizer
from pipelines.data.problem import Problem
from pipelines.data.prompts import PromptBuilder
from pipelines.models import shipped
from tests.engines.openai_server import vllm_server
from tests.scripted import ScriptedEngine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHIPPED = Path(shipped.__file__).parent
STUDENT = next(SHIPPED.glob("chain-arithmetic-student-*"))
TEACHER = next(SHIPPED.glob("chain-arithmetic-teacher-*"))
GREEDY = SamplingSettings(temperature=0.0)
KEY = "k-123"
PROBLEM = Problem("47+35*02", "64", "known")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = tmp_path_factory.mktemp("served") / "teacher"
    shutil.copytree(TEACHER, model)
    with vllm_server(model, "big", api_key=KEY) as address:
        yield address


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tokenizer with other ids than the teacher's: commands are one token each."""
    folder = tmp_path_factory.mktemp("other-tokenizer")
    write_tokenizer(folder, "special")
    return folder


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)


def server(url: str, mode: Mode | None = None, tokenizer: str | None = None) -> EndpointSettings:
    return EndpointSettings(url=url, model="big", api_key_env="TEACHER_KEY", mode=mode, tokenizer=tokenizer)


def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def wire(endpoint: EndpointSettings, of: Path) -> Wire:
    return asyncio.run(detect(endpoint, tokenizer(of), 128))


def turns(endpoint: EndpointSettings, found: Wire, student: Path, *requests: GenerationRequest) -> list[Generation]:
    async def scenario() -> list[Generation]:
        engine = OpenAIEngine(endpoint, found, TransformersTokenizer(tokenizer(student)))
        try:
            return await asyncio.gather(*map(engine.generate, requests))
        finally:
            await engine.aclose()

    return asyncio.run(scenario())


def prompt(student: Path, teacher: Path) -> RelayPrompt:
    return PromptBuilder(student, teacher, "", as_text=True).prompt(PROBLEM)


def begun(student: Path, teacher: Path, text: str, max_tokens: int = 48) -> GenerationRequest:
    own, its = (TransformersTokenizer(tokenizer(folder)) for folder in (student, teacher))
    context = ConversationHandoff(own, its).teacher_context(prompt(student, teacher), own.encode(text))
    return GenerationRequest(context, max_tokens, GREEDY)


def test_an_equal_tokenizer_is_asked_by_ids(url: str) -> None:
    assert wire(server(url), STUDENT) == Wire(Mode.IDS)


def test_another_tokenizer_is_asked_as_a_chat_or_by_the_teachers_own_ids(url: str, other: Path) -> None:
    assert wire(server(url), other) == Wire(Mode.CHAT)
    assert wire(server(url, tokenizer=str(TEACHER)), TEACHER) == Wire(Mode.IDS)
    with pytest.raises(UnsuitableServerError, match="its tokenizer is another one"):
        wire(server(url, Mode.IDS), other)


def test_a_wrong_key_and_too_long_a_context_are_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsuitableServerError, match=r"should be at most 128"):
        asyncio.run(detect(server(url), tokenizer(STUDENT), 129))
    monkeypatch.setenv("TEACHER_KEY", "wrong")
    with pytest.raises(UnsuitableServerError, match="does not take the API key in TEACHER_KEY"):
        wire(server(url), STUDENT)


@pytest.mark.parametrize("text", ["", "47+35=82;"])
def test_all_modes_write_the_same_text(url: str, other: Path, text: str) -> None:
    request = begun(STUDENT, TEACHER, text)
    (by_ids,) = turns(server(url), Wire(Mode.IDS), STUDENT, request)
    written = TransformersTokenizer(tokenizer(STUDENT)).decode(by_ids.token_ids.tolist())
    assert by_ids.stop is StopReason.END_OF_TEXT and "\\boxed{" in written
    assert by_ids.prompt_tokens == len(request.prompt_ids)
    for mode in (Mode.COMPLETIONS, Mode.CHAT):
        found = wire(server(url, mode), STUDENT)
        (by_text,) = turns(server(url), found, STUDENT, request)
        assert by_text.token_ids.tolist() == by_ids.token_ids.tolist()
        assert (by_text.stop, by_text.prompt_tokens) == (by_ids.stop, by_ids.prompt_tokens)
        (elsewhere,) = turns(server(url), found, other, begun(other, TEACHER, text))
        assert TransformersTokenizer(tokenizer(other)).decode(elsewhere.token_ids.tolist()) == written


@pytest.mark.parametrize("mode", list(Mode))
def test_a_stream_is_the_same_turn_in_steps(url: str, mode: Mode) -> None:
    request = begun(STUDENT, TEACHER, "47+35=82;", max_tokens=8)
    steps: list[list[int]] = []

    async def streamed() -> Generation:
        engine = OpenAIEngine(server(url), Wire(mode), TransformersTokenizer(tokenizer(STUDENT)))
        try:
            return await engine.generate(request, lambda ids, _: steps.append(ids))
        finally:
            await engine.aclose()

    streamed_turn = asyncio.run(streamed())
    (whole,) = turns(server(url), Wire(mode), STUDENT, request)
    assert [token for step in steps for token in step] == streamed_turn.token_ids.tolist() == whole.token_ids.tolist()
    assert (streamed_turn.stop, streamed_turn.prompt_tokens) == (whole.stop, whole.prompt_tokens)
    assert mode is not Mode.IDS or len(steps) > 1


def test_a_seed_decides_what_is_drawn(url: str) -> None:
    drawn = GenerationRequest([5], 20, SamplingSettings(temperature=2.0))  # after which many tokens are likely
    requests = [replace(drawn, seed=seed) for seed in (1, 1, 2, 2**63 - 1)]
    answers = [turn.token_ids.tolist() for turn in turns(server(url), Wire(Mode.IDS), STUDENT, *requests)]
    assert answers[0] == answers[1]
    assert len({tuple(answer) for answer in answers}) == 3


@pytest.mark.parametrize("way", ["ids", "completions", "chat", "ids of the teacher's own vocabulary"])
def test_a_student_relays_to_it(url: str, other: Path, way: str) -> None:
    student = STUDENT if way == "ids" else other
    own, its = (TransformersTokenizer(tokenizer(folder)) for folder in (student, TEACHER))
    found = Wire(Mode(way.split()[0]))
    handoff: Handoff = ConversationHandoff(own, its)
    if found.mode is Mode.IDS:
        handoff = IdHandoff() if way == "ids" else TextHandoff(own, its)
    setup = RelaySetup(
        grammar=CommandGrammar(own),
        handoff=handoff,
        limits=RelayLimits(max_new_tokens=64),
        student_sampling=SamplingSettings(),
        teacher_sampling=GREEDY,
        student_context_tokens=128,
        teacher_context_tokens=128,
    )
    scripted = ScriptedEngine(own, [own.encode("47+35=<call>2</call>"), own.encode(";82*02=64;\\boxed{64}")])

    async def scenario() -> str:
        teacher = OpenAIEngine(server(url), found, own)
        try:
            (answer,) = await relay_all([prompt(student, TEACHER)], setup, scripted, teacher)
        finally:
            await teacher.aclose()
        assert [call.written for call in answer.calls] == [2]
        return answer.text

    assert asyncio.run(scenario()) == "47+35=<call>2</call>82;82*02=64;\\boxed{64}"
