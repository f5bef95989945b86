"""HTTP teachers against servers that misbehave: what is tried again, what is not, and what is never waited for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

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
from actors.engines.circuit import Circuit, OutageError
from actors.engines.endpoint import EndpointSettings, Mode, Patience, Wire
from actors.engines.openai import OpenAIEngine
from actors.settings import SamplingSettings
from tests.engines.openai_server import Reply, StandIn, ids_answer, in_turn, json_reply, run_with, stream, text_answer
from tests.scripted import PieceTokenizer

TOKENIZER = PieceTokenizer(["one", " two", " three", " ", "t", "w", "o"])
QUICK = Patience(timeout_s=10.0, max_retries=2, backoff_s=0.0)
BY_TEXT, AS_CHAT = Wire(Mode.COMPLETIONS), Wire(Mode.CHAT)
GREEDY = SamplingSettings(temperature=0.0)
IDS = GenerationRequest([5, 6, 7], 4, GREEDY)


def by_text(
    max_tokens: int = 4, answer: str = "one", seed: int | None = None, temperature: float = 0.0
) -> GenerationRequest:
    conversation = Conversation((Message("user", "count"),), "<user>count<assistant>", answer)
    return GenerationRequest(
        ContextIds([1, 2, 3], conversation), max_tokens, SamplingSettings(temperature=temperature), seed=seed
    )


def ask(
    *replies: Reply,
    request: GenerationRequest = IDS,
    wire: Wire = Wire(),  # noqa: B008
    patience: Patience = QUICK,
    streamed: bool = False,
) -> tuple[Generation, StandIn, list[list[int]]]:
    steps: list[list[int]] = []

    async def scenario(server: StandIn) -> Generation:
        engine = OpenAIEngine(EndpointSettings(url=server.url, model="big"), wire, TOKENIZER, patience)
        try:
            return await engine.generate(request, (lambda ids, _: steps.append(ids)) if streamed else None)
        finally:
            await engine.aclose()

    generation, server = run_with(in_turn(replies), scenario)
    return generation, server, steps


BROKEN = [
    Reply(429, b"slow down", {"Retry-After": "0"}),
    Reply(408, b"late"),
    Reply(500, b"CUDA error"),
    Reply(503, b"loading"),
    Reply(200, b'{"choices": [', cut=True),
    Reply(200, b"", cut=True),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("broken", BROKEN, ids=lambda reply: f"{reply.status}{' cut' if reply.cut else ''}")
def test_what_may_pass_is_tried_again(broken: Reply, streamed: bool) -> None:
    good = stream({"token_ids": [11], "finish_reason": "length"}) if streamed else ids_answer([11])
    generation, server, steps = ask(broken, good, streamed=streamed)
    assert generation.token_ids.tolist() == [11]
    assert len(server.bodies()) == 2
    assert steps == ([[11]] if streamed else [])


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 422])
def test_a_refusal_is_final_and_told(status: int) -> None:
    with pytest.raises(EngineError, match=f"answered {status}: no$"):
        ask(Reply(status, b"no"), ids_answer([11]))


def test_the_pause_that_a_server_asks_for_is_kept() -> None:
    _, server, _ = ask(Reply(429, b"", {"Retry-After": "1"}), ids_answer([11]))
    first, second = server.times
    assert second - first >= 1.0


def test_a_pause_may_be_a_date_and_one_past_the_deadline_is_not_waited_for() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with pytest.raises(OutageError, match=r"answered 429: .*would be past the deadline"):
        ask(Reply(429, b"", {"Retry-After": later}), ids_answer([11]))


def test_a_slow_answer_meets_the_deadline_and_its_connection_is_closed() -> None:
    async def scenario(server: StandIn) -> None:
        patience = Patience(timeout_s=0.3, max_retries=2, backoff_s=0.0)
        engine = OpenAIEngine(EndpointSettings(url=server.url, model="big"), patience=patience)
        with pytest.raises(OutageError, match=r"did not answer within 0\.3 s"):
            await engine.generate(IDS)
        await asyncio.wait_for(server.hung_up.wait(), 10)
        await engine.aclose()

    run_with(in_turn([Reply(200, b'{"choices"', hang=True)]), scenario)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_cancelled_call_closes_its_request(streamed: bool) -> None:
    async def scenario(server: StandIn) -> None:
        engine = OpenAIEngine(EndpointSettings(url=server.url, model="big"))
        began = asyncio.Event()
        call = asyncio.create_task(engine.generate(IDS, (lambda ids, logprobs: began.set()) if streamed else None))
        await asyncio.wait_for((began if streamed else server.reached).wait(), 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.hung_up.wait(), 10)
        await engine.aclose()

    first = stream({"token_ids": [11], "finish_reason": None}, done=False, hang=True)
    run_with(in_turn([first if streamed else Reply(200, b"{", hang=True)]), scenario)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(200, b"<html>gateway</html>"), "no completion: <html>"),
        (json_reply({"choices": []}), "0 choices"),
        (ids_answer([]), "wrote 0 tokens"),
        (ids_answer([1, 2, 3, 4, 5]), "wrote 5 tokens where 1 to 4"),
        (Reply(200, b"[" * 2_000_000), "sent more than .* bytes"),
    ],
)
def test_nonsense_is_an_error_at_once(reply: Reply, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        ask(reply, ids_answer([11]))


def test_a_streams_tokens_come_as_they_are_written_and_are_those_of_the_turn() -> None:
    parts = [
        {"token_ids": [11], "finish_reason": None},
        {"token_ids": [12, 13], "finish_reason": "stop", "stop_reason": 2},
    ]
    generation, server, steps = ask(stream(*parts), streamed=True)
    assert steps == [[11], [12, 13]]
    assert (generation.token_ids.tolist(), generation.stop) == ([11, 12, 13], StopReason.END_OF_TEXT)
    (body,) = server.bodies()
    assert body["stream"] is True and body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("cut", [False, True])
def test_half_a_stream_is_asked_for_again_only_if_nobody_has_its_tokens(cut: bool) -> None:
    whole = stream({"token_ids": [21], "finish_reason": "length"})
    generation, server, steps = ask(stream(done=False, cut=cut), whole, streamed=True)
    assert (generation.token_ids.tolist(), steps, len(server.bodies())) == ([21], [[21]], 2)
    half = stream({"token_ids": [11], "finish_reason": None}, done=False, cut=cut)
    with pytest.raises(EngineError, match=r"after 1 tokens"):
        ask(half, whole, streamed=True)


def test_an_error_within_a_stream_is_told() -> None:
    with pytest.raises(EngineError, match=r"failed within its answer: .*out of memory"):
        ask(Reply(200, b'data: {"error": {"message": "out of memory"}}\n\n'), streamed=True)


def test_text_becomes_the_students_tokens() -> None:
    generation, server, _ = ask(text_answer(" two three", "length", 9), request=by_text(), wire=BY_TEXT)
    assert generation.token_ids.tolist() == TOKENIZER.encode(" two three")
    assert (generation.stop, generation.prompt_tokens) == (StopReason.LENGTH, 9)
    (body,) = server.bodies()
    assert body["prompt"] == "<user>count<assistant>one"
    assert "return_token_ids" not in body


@pytest.mark.parametrize("streamed", [False, True])
def test_text_is_cut_to_the_tokens_that_were_asked_for(streamed: bool) -> None:
    words = {"text": " two three two three", "finish_reason": "stop"}
    reply = stream(words) if streamed else json_reply({"choices": [words]})
    generation, _, steps = ask(reply, request=by_text(max_tokens=3), wire=BY_TEXT, streamed=streamed)
    assert generation.token_ids.tolist() == TOKENIZER.encode(" two three two")
    assert generation.stop is StopReason.LENGTH
    assert [token for step in steps for token in step] == (generation.token_ids.tolist() if streamed else [])


@pytest.mark.parametrize("streamed", [False, True])
def test_the_end_of_a_text_is_the_students_end_token(streamed: bool) -> None:
    parts: list[dict[str, Any]] = [{"text": " t"}, {"text": "wo thr"}, {"text": "ee", "finish_reason": "stop"}]
    reply = stream(*parts) if streamed else text_answer(" two three", "stop")
    generation, _, steps = ask(reply, request=by_text(), wire=BY_TEXT, streamed=streamed)
    assert generation.token_ids.tolist() == [*TOKENIZER.encode(" two three"), 0]
    assert generation.stop is StopReason.END_OF_TEXT
    assert not streamed or steps[0] == TOKENIZER.encode(" two")


def test_a_server_that_wrote_nothing_visible_is_an_error() -> None:
    with pytest.raises(EngineError, match="wrote no text; a server that hides a model's reasoning"):
        ask(text_answer("", "length"), request=by_text(), wire=BY_TEXT)


def test_an_end_without_text_is_an_end() -> None:
    generation, _, _ = ask(text_answer("", "stop"), request=by_text(), wire=BY_TEXT)
    assert (generation.token_ids.tolist(), generation.stop) == ([0], StopReason.END_OF_TEXT)


def test_a_chat_continues_the_assistants_turn() -> None:
    generation, server, _ = ask(text_answer(" two", chat=True), request=by_text(), wire=AS_CHAT)
    assert generation.token_ids.tolist() == TOKENIZER.encode(" two")
    (body,) = server.bodies("/v1/chat/completions")
    assert body["messages"] == [{"role": "user", "content": "count"}, {"role": "assistant", "content": "one"}]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


def test_a_chat_without_an_answer_so_far_begins_one() -> None:
    _, server, _ = ask(text_answer("one", chat=True), request=by_text(answer=""), wire=AS_CHAT)
    (body,) = server.bodies("/v1/chat/completions")
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (False, True)


def test_a_plain_server_gets_openais_parameters_alone() -> None:
    request = by_text(seed=2**40 + 7, temperature=1.0)
    _, server, _ = ask(text_answer(" two", chat=True), request=request, wire=Wire(Mode.CHAT, extended=False))
    (body,) = server.bodies("/v1/chat/completions")
    known = {"model", "messages", "max_tokens", "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty"}
    assert set(body) == known
    assert body["seed"] == 7


def test_after_failed_calls_in_a_row_calls_fail_at_once_until_one_gets_through() -> None:
    now = 0.0
    circuit = Circuit("server", failures_to_open=2, open_s=10.0, clock=lambda: now)

    def fail() -> None:
        with pytest.raises(OutageError, match=r"down$"), circuit.call():
            raise OutageError("down")

    fail()
    with pytest.raises(EngineError, match="refused"), circuit.call():
        raise EngineError("refused")  # the server is there
    fail()
    fail()
    with (
        pytest.raises(OutageError, match=r"failed 2 times in a row, the next try is in 10\.0 s\. Last: down"),
        circuit.call(),
    ):
        pytest.fail("the call was made")
    now = 10.0
    with circuit.call(), pytest.raises(OutageError, match="one call is trying again"), circuit.call():
        pytest.fail("a second call was made")
    with circuit.call():
        pass


def test_an_open_circuit_reaches_no_server() -> None:
    async def scenario(server: StandIn) -> None:
        patience = Patience(timeout_s=10.0, max_retries=0, backoff_s=0.0, failures_to_open=3, open_s=60.0)
        engine = OpenAIEngine(EndpointSettings(url=server.url, model="big"), patience=patience)
        for _ in range(10):
            with pytest.raises(OutageError):
                await engine.generate(IDS)
        await engine.aclose()

    _, server = run_with(in_turn([Reply(500, b"down")]), scenario)
    assert len(server.bodies()) == 3
