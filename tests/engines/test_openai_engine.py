"""The remote teacher against a real HTTP server on the loopback interface."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from actors.engines.base import (
    ContextIds,
    Conversation,
    EngineError,
    Generation,
    GenerationRequest,
    Message,
    StopReason,
)
from actors.engines.endpoint import EndpointSettings, Mode, Patience, Wire
from actors.engines.openai import OpenAIEngine
from actors.engines.openai_bodies import body_of
from actors.settings import SamplingSettings

fastapi = pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")


def engine_at(url: str, retries: int = 2, timeout_s: float = 30.0, api_key_env: str | None = None) -> OpenAIEngine:
    patience = Patience(timeout_s=timeout_s, max_retries=retries, backoff_s=0.0)
    return OpenAIEngine(EndpointSettings(url=url, model="big", api_key_env=api_key_env), patience=patience)


REQUEST = GenerationRequest([5, 6, 7], 4, SamplingSettings(temperature=0.7, top_p=0.95))


@dataclass
class Server:
    """Answers with the given (status, body) pairs in turn, the last one for ever; None never answers."""

    answers: list[tuple[int, str] | None]
    bodies: list[dict[str, object]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    url: str = ""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def serving(*answers: tuple[int, str] | None) -> AsyncIterator[Server]:
    server = Server(list(answers))

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if scope["type"] != "http":
            return
        request = fastapi.Request(scope, receive)
        assert request.url.path == "/v1/completions"
        server.bodies.append(await request.json())
        server.reached.set()
        server.authorizations.append(request.headers.get("authorization"))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        if answer is None:
            await receive()
            server.hung_up.set()
            return
        await fastapi.Response(content=answer[1], status_code=answer[0])(scope, receive, send)

    process = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    process.config.load()
    process.lifespan = process.config.lifespan_class(process.config)
    await process.startup()
    server.url = f"http://127.0.0.1:{process.servers[0].sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        await process.shutdown()


def completion(
    token_ids: list[int] | None,
    finish_reason: str | None = "length",
    stop_reason: int | str | None = None,
    usage: object = None,
) -> tuple[int, str]:
    choice = {"index": 0, "text": "…", "finish_reason": finish_reason, "stop_reason": stop_reason}
    return 200, json.dumps({"id": "1", "choices": [{**choice, "token_ids": token_ids}], "usage": usage})


def generate(
    *answers: tuple[int, str] | None, request: GenerationRequest = REQUEST, retries: int = 2, timeout_s: float = 30.0
) -> tuple[Generation, Server]:
    async def scenario() -> tuple[Generation, Server]:
        async with serving(*answers) as server:
            engine = engine_at(server.url, retries, timeout_s)
            try:
                return await engine.generate(request), server
            finally:
                await engine.aclose()

    return asyncio.run(scenario())


def test_token_ids_go_out_and_come_back() -> None:
    generation, server = generate(completion([11, 12]))
    assert generation.token_ids.tolist() == [11, 12]
    assert generation.stop is StopReason.LENGTH
    assert generation.versions.tolist() == [-1, -1]
    assert generation.logprobs.tolist() == [0.0, 0.0]
    (body,) = server.bodies
    assert body["prompt"] == [5, 6, 7]
    assert body["model"] == "big"
    assert body["max_tokens"] == 4
    assert body["return_token_ids"] is True


def test_no_sampling_parameter_is_left_to_the_server() -> None:
    (body,) = generate(completion([11]))[1].bodies
    sampling = {key: body[key] for key in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")}
    assert sampling == {"temperature": 0.7, "top_p": 0.95, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


def test_the_request_is_one_that_vllm_takes() -> None:
    protocol = pytest.importorskip("vllm.entrypoints.openai.completion.protocol")
    commands = GenerationRequest([5], 4, SamplingSettings(), stop_text="<call", excluded=(7, 9))
    (body,) = generate(completion([11]), request=commands)[1].bodies
    assert set(body) <= set(protocol.CompletionRequest.model_fields)
    parameters = protocol.CompletionRequest.model_validate(body).to_sampling_params(4, {"top_k": 20, "min_p": 0.1})
    assert (parameters.top_k, parameters.min_p, parameters.max_tokens) == (0, 0.0, 4)
    assert (parameters.stop, parameters.include_stop_str_in_output) == (["<call"], True)
    assert parameters.logit_bias == {7: -100.0, 9: -100.0}


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason", "stop"),
    [
        ("length", None, StopReason.LENGTH),
        ("stop", None, StopReason.END_OF_TEXT),
        ("stop", 151645, StopReason.END_OF_TEXT),
        ("stop", "</call>", StopReason.STOP_TEXT),
        ("stop", "<call", StopReason.STOP_TEXT),
    ],
)
def test_finish_reasons_are_told_apart(finish_reason: str, stop_reason: int | str | None, stop: StopReason) -> None:
    assert generate(completion([11], finish_reason, stop_reason))[0].stop is stop


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"prompt_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}, "total_tokens": 9}, (4, 3)),
        ({"prompt_tokens": 4, "prompt_tokens_details": None}, (4, 0)),
        ({"prompt_tokens": 4, "prompt_tokens_details": {"cached_tokens": None}}, (4, 0)),
        (None, (3, 0)),
    ],
)
def test_usage_says_what_the_prompt_cost(usage: object, cost: tuple[int, int]) -> None:
    generation, _ = generate(completion([11], usage=usage))
    assert (generation.prompt_tokens, generation.cached_tokens) == cost


def test_vllms_usage_is_understood() -> None:
    protocol = pytest.importorskip("vllm.entrypoints.serve.engine.protocol")
    details = protocol.PromptTokenUsageInfo(cached_tokens=32)
    usage = protocol.UsageInfo(prompt_tokens=50, total_tokens=51, prompt_tokens_details=details)
    generation, _ = generate(completion([11], usage=usage.model_dump()))
    assert (generation.prompt_tokens, generation.cached_tokens) == (50, 32)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_transient_failure_is_tried_again(status: int) -> None:
    generation, server = generate((status, "busy"), completion([11]))
    assert generation.token_ids.tolist() == [11]
    assert len(server.bodies) == 2


def test_retries_are_bounded_and_the_last_answer_is_told() -> None:
    with pytest.raises(EngineError, match=r"answered 500: CUDA error \(tried 3 times\)"):
        generate((500, "CUDA error"))


def test_a_refused_request_is_not_tried_again() -> None:
    with pytest.raises(EngineError, match=r"answered 400: context too long$"):
        generate((400, "context too long"), completion([11]))


def test_long_bodies_are_cut_in_messages() -> None:
    with pytest.raises(EngineError) as error:
        generate((404, "x" * 10_000))
    assert len(str(error.value)) < 500


def test_a_silent_server_meets_the_deadline() -> None:
    with pytest.raises(EngineError, match=r"did not answer within 0\.2 s"):
        generate(None, timeout_s=0.2)


def test_an_unreachable_server_is_named() -> None:
    async def scenario() -> None:
        async with serving(completion([1])) as server:
            url = server.url
        engine = engine_at(url, retries=1)
        try:
            await engine.generate(REQUEST)
        finally:
            await engine.aclose()

    with pytest.raises(EngineError, match=r"could not be reached: ConnectError .*\(tried 2 times\)"):
        asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, "<html>gateway</html>"), "no completion: <html>gateway"),
        ((200, '{"choices": [{"token_ids": "abc", "finish_reason": "stop"}]}'), "no completion"),
        ((200, '{"choices": []}'), "0 choices instead of 1"),
        (completion(None), "must support `return_token_ids`"),
        (completion([]), "wrote 0 tokens where 1 to 4"),
        (completion([1, 2, 3, 4, 5]), "wrote 5 tokens where 1 to 4"),
        (completion([1], "abort"), "unknown reason: 'abort'"),
        (completion([1], None), "unknown reason: None"),
        (completion([1], usage={"prompt_tokens": -1}), "no completion"),
    ],
)
def test_answers_that_make_no_sense_are_errors(answer: tuple[int, str], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        generate(answer)


def test_log_probs_are_refused() -> None:
    request = GenerationRequest([5], 4, SamplingSettings(), want_logprobs=True)
    with pytest.raises(EngineError, match="log-probs"):
        generate(completion([11]), request=request)


def with_key(engine_of: Callable[[str], OpenAIEngine]) -> list[str | None]:
    async def scenario() -> list[str | None]:
        async with serving(completion([11])) as server:
            engine = engine_of(server.url)
            await engine.generate(REQUEST)
            await engine.aclose()
            return server.authorizations

    return asyncio.run(scenario())


def test_the_key_comes_from_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", "k-123")
    assert with_key(lambda url: engine_at(url, api_key_env="TEACHER_KEY")) == ["Bearer k-123"]


def test_without_a_variable_no_key_is_sent() -> None:
    assert with_key(engine_at) == [None]


def test_a_missing_key_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(ValueError, match="TEACHER_KEY"):
        engine_at("http://localhost/v1", api_key_env="TEACHER_KEY")


def test_cancelling_hangs_up() -> None:
    async def scenario() -> None:
        async with serving(None) as server:
            engine = engine_at(server.url)
            task = asyncio.create_task(engine.generate(REQUEST))
            await asyncio.wait_for(server.reached.wait(), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(server.hung_up.wait(), 10)
            await engine.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", ["", "so far"])
def test_a_chat_is_one_that_vllm_takes_and_continues(answer: str) -> None:
    protocol = pytest.importorskip("vllm.entrypoints.openai.chat_completion.protocol")
    conversation = Conversation((Message("user", "question"),), "rendered", answer)
    request = GenerationRequest(ContextIds([5], conversation), 4, SamplingSettings(temperature=0.5), seed=2**63 - 1)
    path, body = body_of(request, "big", Wire(Mode.CHAT), stream=True)
    assert path == "chat/completions"
    assert set(body) <= set(protocol.ChatCompletionRequest.model_fields)
    taken = protocol.ChatCompletionRequest.model_validate(body)
    assert (taken.continue_final_message, taken.add_generation_prompt) == (bool(answer), not answer)
    assert taken.to_sampling_params(4, {"top_k": 20}).seed == 2**63 - 1


def test_a_text_is_one_that_vllm_takes() -> None:
    protocol = pytest.importorskip("vllm.entrypoints.openai.completion.protocol")
    conversation = Conversation((Message("user", "question"),), "rendered ", "so far")
    request = GenerationRequest(ContextIds([5], conversation), 4, SamplingSettings())
    path, body = body_of(request, "big", Wire(Mode.COMPLETIONS), stream=True)
    assert (path, body["prompt"]) == ("completions", "rendered so far")
    assert set(body) <= set(protocol.CompletionRequest.model_fields)
    assert protocol.CompletionRequest.model_validate(body).add_special_tokens is False
