"""The HTTP interface over scripted engines: OpenAI's forms, the key `relay`, and errors."""

import asyncio
from typing import Any

import jsonschema
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionStreamResponse
from vllm.entrypoints.openai.completion.protocol import CompletionStreamResponse

from actors.engines.base import EngineError, GenerationRequest
from actors.serving.protocol import USED_IN_CHATS, USED_IN_COMPLETIONS, WITHOUT_EFFECT
from tests.serving.stack import Stack, chat, chunks, scripted, settings, stack

CALLING = ["94<call>3</call>", "+1"]
"""what a student writes that calls once"""


async def post(of: Stack, body: dict[str, Any], path: str = "/v1/chat/completions") -> Any:
    async with of.client() as client:
        response = await client.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()


async def stream(of: Stack, body: dict[str, Any], path: str = "/v1/chat/completions") -> list[dict[str, Any]]:
    async with of.client() as client:
        response = await client.post(path, json=body | {"stream": True})
        assert response.headers["content-type"].startswith("text/event-stream")
        return chunks(response.text)


async def test_an_answer_with_a_call_says_who_wrote_what_and_what_it_cost() -> None:
    body = await post(stack(CALLING, ["*28"]), chat())
    ChatCompletion.model_validate(body)
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "94*28+1"}
    assert choice["finish_reason"] == "stop"
    relay = choice["relay"]
    assert relay["spans"] == [
        {"writer": "student", "start": 0, "end": 2},
        {"writer": "teacher", "start": 2, "end": 5},
        {"writer": "student", "start": 5, "end": 7},
    ]
    (call,) = relay["calls"]
    assert (call["start"], call["end"], call["requested"], call["written"]) == (2, 5, 3, 3)
    assert (call["ending"], call["reason"]) == ("completed", None)
    assert 0 <= call["first_token_s"] <= call["duration_s"] <= relay["duration_s"]
    assert relay["teacher_tokens"] == 3
    assert relay["student_tokens"] + 3 == relay["output_tokens"] == body["usage"]["completion_tokens"]
    assert relay["call_ratio"] == pytest.approx(3 / relay["output_tokens"])
    usage = relay["usage"]
    assert usage["student"]["turns"] == 2
    assert usage["teacher"] == {
        "turns": 1,
        "prompt_tokens": call["prompt_tokens"],
        "cached_tokens": 0,
        "written_tokens": 3,
    }
    expected = sum(
        usage[who]["prompt_tokens"] * price["input"] + usage[who]["written_tokens"] * price["output"]
        for who, price in settings().prices.model_dump().items()
    )
    assert relay["cost"] == pytest.approx(expected / 1e6)
    assert body["relay"] | {"currency": "USD", "teacher": "on", "policy_version": 0} == body["relay"]
    assert body["relay"]["cost"] == relay["cost"]


@pytest.mark.parametrize("keys", [{}, {"stop": "8+"}, {"relay": {"show_commands": True}}, {"max_tokens": 12}, {"n": 2}])
async def test_a_stream_is_the_plain_answer_in_chunks_of_one_writer(keys: dict[str, Any]) -> None:
    def student(request: GenerationRequest) -> str:
        return CALLING[len(request.prompt_ids) > 12]

    of = Stack(scripted(student), scripted(lambda _: "*28"), settings())
    plain = await post(of, chat(**keys))
    found = await stream(of, chat(**keys, stream_options={"include_usage": True}))
    for chunk in found:
        ChatCompletionChunk.model_validate(chunk)
        ChatCompletionStreamResponse.model_validate(chunk)
    *parts, last = found
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in found}) == 1
    for index, whole in enumerate(plain["choices"]):
        own = [part["choices"][0] for part in parts if part["choices"][0]["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        texts = [one for one in own[1:] if one["delta"].get("content")]
        assert "".join(one["delta"]["content"] for one in texts) == whole["message"]["content"]
        assert {one["relay"]["writer"] for one in texts} <= {"student", "teacher"}
        shown = "".join(one["relay"]["writer"][0] * len(one["delta"]["content"]) for one in texts)
        spans = whole["relay"]["spans"]
        assert shown == "".join(span["writer"][0] * (span["end"] - span["start"]) for span in spans)
        final = own[-1]
        assert final["finish_reason"] == whole["finish_reason"]
        timeless = [without_times(relay) for relay in (final["relay"], whole["relay"])]
        assert timeless[0] == timeless[1]
        calls = [one["relay"]["call"] for one in own if "call" in one.get("relay", {})]
        assert calls[0] == {"start": 2 + 14 * ("relay" in keys), "requested": 3}
        if "stop" not in keys:
            assert calls[1:] == final["relay"]["calls"]
    assert last["choices"] == []
    assert last["usage"] == plain["usage"]
    assert without_times(last["relay"]) == without_times(plain["relay"])


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if not key.endswith("_s")}
    return [without_times(one) for one in value] if isinstance(value, list) else value


async def test_a_stream_without_usage_has_no_chunk_without_choices() -> None:
    found = await stream(stack(CALLING, ["*28"]), chat())
    assert all(chunk["choices"] and "usage" not in chunk for chunk in found)


async def test_completions_have_text_where_chats_have_messages() -> None:
    keys = {"prompt": "1", "max_tokens": 30, "logprobs": 0}
    body = await post(stack(CALLING, ["*28"]), keys, "/v1/completions")
    Completion.model_validate(body)
    assert body["choices"][0]["text"] == "94*28+1"
    tokens = body["choices"][0]["logprobs"]
    assert "".join(tokens["tokens"]) == "94*28+1"
    assert tokens["text_offset"] == list(range(7))
    found = await stream(stack(CALLING, ["*28"]), keys, "/v1/completions")
    for chunk in found:
        CompletionStreamResponse.model_validate(chunk)
    assert "".join(chunk["choices"][0]["text"] for chunk in found) == "94*28+1"


async def test_logprobs_are_of_visible_tokens() -> None:
    body = await post(stack(CALLING, ["*28"]), chat(logprobs=True))
    content = ChatCompletion.model_validate(body).choices[0].logprobs
    assert content is not None and content.content is not None
    assert "".join(one.token for one in content.content) == "94*28+1"
    assert all(one.logprob < 0 for one in content.content)


async def test_several_prompts_have_n_choices_each_and_each_prompt_counts_once() -> None:
    of = Stack(scripted(lambda request: "9" * len(request.prompt_ids)), scripted([]), settings())
    body = await post(of, {"prompt": ["1", "12"], "n": 2}, "/v1/completions")
    assert [choice["text"] for choice in body["choices"]] == ["9", "9", "99", "99"]
    assert body["usage"]["prompt_tokens"] == 3


async def test_a_stop_text_ends_the_answer_across_the_seam_of_student_and_teacher() -> None:
    body = await post(stack(CALLING, ["*28"]), chat(stop=["4*"]))
    (choice,) = body["choices"]
    assert choice["message"]["content"] == "9"
    assert (choice["finish_reason"], choice["relay"]["stop_text"]) == ("stop", "4*")
    (call,) = choice["relay"]["calls"]
    assert (call["start"], call["end"]) == (1, 1)
    assert choice["relay"]["spans"] == [{"writer": "student", "start": 0, "end": 1}]


async def test_the_models_alone_write_alone() -> None:
    of = Stack(scripted(lambda _: "94<call>3</call>7"), scripted(lambda _: "28"), settings())
    student = await post(of, chat(model="tiny/student"))
    teacher = await post(of, chat(model="tiny/teacher"))
    assert student["choices"][0]["relay"]["calls"] == []
    assert student["relay"]["teacher"] == "off"
    assert student["relay"]["teacher_tokens"] == 0
    assert teacher["choices"][0]["message"]["content"] == "28"
    assert teacher["choices"][0]["relay"]["spans"] == [{"writer": "teacher", "start": 0, "end": 2}]
    assert teacher["relay"]["call_ratio"] == 1.0
    assert teacher["relay"]["cost"] == pytest.approx(teacher["relay"]["teacher_alone_cost"])


@pytest.mark.parametrize(
    ("keys", "written"), [({"max_teacher_tokens": 2}, 2), ({"max_calls": 0}, 0), ({"teacher": "off"}, 0), ({}, 3)]
)
async def test_a_budget_limits_what_the_teacher_writes(keys: dict[str, Any], written: int) -> None:
    def student(request: GenerationRequest) -> str:
        return "5" if request.excluded or len(request.prompt_ids) > 17 else CALLING[0]

    of = Stack(scripted(student), scripted(lambda _: "*28"), settings())
    body = await post(of, chat(relay=keys))
    assert body["relay"]["teacher_tokens"] == written


async def test_the_teacher_alone_keeps_to_a_budget_too() -> None:
    of = Stack(scripted([]), scripted(lambda _: "1234567890"), settings())
    capped = await post(of, chat(model="tiny/teacher", relay={"max_teacher_tokens": 4}))
    assert capped["choices"][0]["message"]["content"] == "1234"
    assert capped["choices"][0]["finish_reason"] == "length"
    nothing = await post(of, chat(model="tiny/teacher", relay={"max_cost": 0}))
    assert nothing["choices"][0]["message"]["content"] == ""
    assert nothing["relay"]["cost"] == 0


async def test_an_answer_that_misses_its_deadline_is_a_504() -> None:
    def never(request: GenerationRequest) -> Any:
        return asyncio.Event().wait()

    of = Stack(scripted([""], before=never), scripted([]), settings(deadline_s=0.05))
    async with of.client() as client:
        response = await client.post("/v1/chat/completions", json=chat())
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert of.student.in_flight == 0  # type: ignore[attr-defined]


async def test_an_error_after_the_first_text_ends_the_stream_without_done() -> None:
    def student(request: GenerationRequest) -> str | Exception:
        return EngineError("broken") if len(request.prompt_ids) > 17 else CALLING[0]

    of = Stack(scripted(student), scripted(lambda _: "*28"), settings())
    async with of.client() as client:
        response = await client.post("/v1/chat/completions", json=chat(stream=True))
    assert response.status_code == 200
    assert "[DONE]" not in response.text
    assert '"error":{' in response.text.split("\n\n")[-2]


async def test_an_error_before_the_first_text_has_its_status_also_in_a_stream() -> None:
    of = Stack(scripted([EngineError("broken")]), scripted([]), settings())
    async with of.client() as client:
        response = await client.post("/v1/chat/completions", json=chat(stream=True))
    assert response.status_code == 503
    assert response.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"[]", 400),
        ("/v1/chat/completions", b'{"temperature": NaN}', 400),
        ("/v1/chat/completions", b"[" * 100_000, 400),
        ("/v1/nothing", b"{}", 404),
        ("/admin/student", b"{}", 400),
        ("/health", b"{}", 405),
    ],
)
async def test_errors_have_openais_form(path: str, content: bytes, status: int) -> None:
    async with stack([]).client() as client:
        response = await client.post(path, content=content)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_the_models_are_listed_with_what_a_page_needs() -> None:
    async with stack([]).client() as client:
        listed = (await client.get("/v1/models")).json()["data"]
        one = (await client.get("/v1/models/tiny/student")).json()
    assert [model["id"] for model in listed] == ["tiny", "tiny/student", "tiny/teacher"]
    assert one == listed[1]
    assert set(one["relay"]) == {"kind", "policy_version", "examples", "memory", "prices", "currency", "limits"}


async def test_metrics_count_what_was_answered() -> None:
    async with stack(CALLING, ["*28"]).client() as client:
        await client.post("/v1/chat/completions", json=chat())
        text = (await client.get("/metrics")).text
    assert 'relayllm_requests_total{model="relay",outcome="ok"} 1.0' in text
    assert 'relayllm_output_tokens_total{writer="teacher"} 3.0' in text
    assert 'relayllm_calls_total{ending="completed"} 1.0' in text
    assert "relayllm_running_requests 0.0" in text


def test_openapi_describes_the_fields_that_are_used() -> None:
    paths = stack([]).app().openapi()["paths"]
    for path, used in (("/v1/chat/completions", USED_IN_CHATS), ("/v1/completions", USED_IN_COMPLETIONS)):
        body = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator.check_schema(body)
        assert set(body["properties"]) == used | WITHOUT_EFFECT


async def test_a_load_balancer_may_ask_for_the_head_of_health_alone() -> None:
    async with stack([]).client() as client:
        response = await client.head("/health")
    assert (response.status_code, response.content) == (200, b"")
