"""A server whose teacher is behind a url. The teacher's server is another relay server here, over scripted engines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from actors.engines.base import GenerationRequest
from actors.engines.endpoint import Mode, UnsuitableServerError
from actors.engines.teachers import ServedTeacher
from actors.serving.errors import ApiError
from actors.serving.prompts import Prompts
from actors.serving.protocol import RequestReader
from actors.serving.remote_teacher import access_to, remote_teacher
from actors.serving.settings import ServerSettings
from tests.live import served_in_a_thread
from tests.serving.stack import ENGINE, Stack, chat, scripted, settings, tokenizer


@pytest.fixture
def teacher() -> Iterator[tuple[Stack, str]]:
    """Return a relay server and its URL. Its teacher continues each text with *28."""
    of = Stack(scripted(lambda _: ""), scripted(lambda _: "*28"), settings())
    with served_in_a_thread(of.app()) as url:
        yield of, f"{url}/v1"


def with_url(url: str, **keys: Any) -> ServerSettings:
    return settings(teacher={"url": url, "model": "tiny/teacher", "engine": ENGINE} | keys)


def student(request: GenerationRequest) -> str:
    return "+1" if len(request.prompt_ids) > 14 else "94<call>3</call>"


async def test_calls_go_to_the_server_by_text(teacher: tuple[Stack, str]) -> None:
    of, url = teacher
    chosen = with_url(url, mode="completions")
    with pytest.raises(UnsuitableServerError, match="ids"):
        await_probe(with_url(url, mode="ids"))
    remote = await_probe(chosen)
    assert remote.wire.mode is Mode.COMPLETIONS
    engine = access_to(remote, chosen).engine(tokenizer())
    relay = Stack(scripted(student), engine, chosen, remote)
    async with relay.client() as client:
        body = (await client.post("/v1/chat/completions", json=chat())).json()
        alone = (await client.post("/v1/chat/completions", json=chat(model="tiny/teacher"))).json()
    assert body["choices"][0]["message"]["content"] == "94*28+1"
    assert body["relay"]["teacher_tokens"] == 3
    assert body["choices"][0]["relay"]["spans"][1] == {"writer": "teacher", "start": 2, "end": 5}
    assert alone["choices"][0]["message"]["content"] == "*28"
    asked = [tokenizer().decode(request.prompt_ids) for request in of.teacher.requests[-2:]]  # type: ignore[attr-defined]
    assert asked == ["94*0394", "94*03"]  # names of special tokens are not decoded


def await_probe(chosen: ServerSettings) -> ServedTeacher:
    """Probe a server from outside of the test's event loop."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        remote = thread.submit(remote_teacher, chosen).result(60)
    assert remote is not None
    return remote


def test_what_a_remote_teacher_cannot_do_is_refused_by_name() -> None:
    from actors.engines.endpoint import Wire

    chosen = with_url("http://localhost:9/v1", mode="chat")
    assert chosen.teacher is not None and chosen.teacher.endpoint is not None
    remote = ServedTeacher(chosen.teacher.endpoint, Wire(Mode.CHAT))
    reader = RequestReader(chosen, Prompts(chosen, remote))
    conversation = reader.chat(chat()).choices[0].prompt.conversation
    assert conversation is not None and conversation.messages[0].content == "94*03"
    for body, param in (({"prompt": "1"}, "prompt"), ({"prompt": "1", "logprobs": 0}, "logprobs")):
        with pytest.raises(ApiError) as refused:
            reader.completion(body)
        assert refused.value.param == param
        assert reader.completion(body | {"model": "tiny/student"}).choices
        assert reader.completion(body | {"relay": {"teacher": "off"}}).choices


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"url": "http://localhost:9/v1"}, "model is required with url"),
        ({"url": "http://localhost:9/v1", "model": "a", "path": "b"}, "either path, or url"),
        ({}, "either path, or url"),
        ({"url": "http://localhost:9/v1", "model": "a", "replicas": 2}, "replicas \\(2\\) should be 1"),
        ({"url": "http://localhost:9/v1", "model": "a", "api_key_env": "sk-123"}, "never the key"),
        ({"path": "a", "cache": "b"}, "cache \\(b\\) should be empty"),
        ({"path": "a", "mode": "chat"}, "should be empty without url"),
    ],
)
def test_settings_of_a_teacher_that_make_no_sense_are_refused(teacher: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(teacher=teacher)
