"""What is found out about a server at the start, and why one is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from actors.engines.endpoint import EndpointSettings, Mode, Patience, UnsuitableServerError, Wire
from actors.engines.openai_probe import detect
from tests.engines.openai_server import Reply, StandIn, in_turn, json_reply, run_with

QUICK = Patience(timeout_s=10.0, max_retries=1, backoff_s=0.0)


class Characters:
    """A tokenizer of single characters, with ids moved by `shift`."""

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [ord(character) + self.shift for character in text]


class Server:
    """A small OpenAI server whose abilities a test chooses."""

    def __init__(
        self,
        *,
        ids: bool = False,
        completions: bool = False,
        chat: str | None = None,
        strict: bool = False,
        counts: bool = True,
        context: int | None = None,
    ) -> None:
        """`chat` is "continues" or "anew". A `strict` server refuses parameters that OpenAI's lacks."""
        self.ids, self.completions, self.chat, self.strict = ids, completions, chat, strict
        self.counts, self.context = counts, context

    def __call__(self, path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models":
            entry = {"id": "big"} | ({} if self.context is None else {"max_model_len": self.context})
            return json_reply({"data": [entry]})
        if self.strict and {"top_k", "continue_final_message", "return_token_ids", "add_special_tokens"} & body.keys():
            return Reply(400, b"unknown parameter")
        if path == "/v1/completions" and (self.ids or self.completions):
            prompt = body["prompt"]
            if isinstance(prompt, list) and not self.ids:
                return Reply(400, b"prompt should be text")
            choice: dict[str, Any] = {"text": "x", "finish_reason": "length"}
            if self.ids:
                shown = prompt if isinstance(prompt, list) else [ord(character) for character in prompt]
                choice |= {"token_ids": [7], "prompt_token_ids": shown}
            return json_reply({"choices": [choice]})
        if path == "/v1/chat/completions" and self.chat:
            return json_reply(self._chat(body["messages"]))
        return Reply(404, b"no such path")

    def _chat(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
        counting = "123456789123456789"
        continues = self.chat == "continues"
        text = counting[len(begun) :][:16] if continues else counting[:16]
        tokens = 20 + len(begun) + (0 if continues or not begun else 5)
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "length"}
        return {"choices": [choice], "usage": {"prompt_tokens": tokens} if self.counts else None}


def found(
    answer: Callable[[str, dict[str, Any]], Reply], shift: int = 0, context_tokens: int = 128, **settings: Any
) -> Wire:
    async def scenario(server: StandIn) -> Wire:
        endpoint = EndpointSettings(url=server.url, model="big", **settings)
        return await detect(endpoint, Characters(shift), context_tokens, QUICK)

    wire: Wire = run_with(answer, scenario)[0]
    return wire


@pytest.mark.parametrize(
    ("server", "settings", "wire"),
    [
        (Server(ids=True, completions=True, chat="continues"), {}, Wire(Mode.IDS)),
        (Server(completions=True, chat="continues"), {}, Wire(Mode.CHAT)),
        (Server(completions=True, chat="continues"), {"tokenizer": "t"}, Wire(Mode.COMPLETIONS)),
        (Server(completions=True, chat="anew"), {}, Wire(Mode.COMPLETIONS)),
        (Server(completions=True), {}, Wire(Mode.COMPLETIONS)),
        (Server(chat="continues", counts=False), {}, Wire(Mode.CHAT)),
        (Server(chat="continues", strict=True), {}, Wire(Mode.CHAT, extended=False)),
        (Server(completions=True, strict=True), {}, Wire(Mode.COMPLETIONS, extended=False)),
        (Server(ids=True, completions=True, chat="continues"), {"mode": Mode.CHAT}, Wire(Mode.CHAT)),
    ],
)
def test_the_best_way_that_a_server_offers_is_found(server: Server, settings: dict[str, Any], wire: Wire) -> None:
    assert found(server, **settings) == wire


def test_another_vocabulary_is_not_asked_by_ids() -> None:
    assert found(Server(ids=True, completions=True, chat="continues"), shift=1).mode is Mode.CHAT
    with pytest.raises(UnsuitableServerError, match=r"its tokenizer is another one: .* models\.teacher\.tokenizer"):
        found(Server(ids=True), shift=1, mode=Mode.IDS)


@pytest.mark.parametrize("counts", [True, False])
def test_a_chat_that_begins_anew_is_refused(counts: bool) -> None:
    with pytest.raises(UnsuitableServerError) as error:
        found(Server(chat="anew", counts=counts))
    said = str(error.value)
    assert "by chat: it begins a new message, where it should continue the assistant's last one" in said
    assert "by ids: " in said and "by completions: " in said


def test_a_server_that_can_do_nothing_is_refused_with_all_that_it_lacks() -> None:
    with pytest.raises(UnsuitableServerError, match=r"by ids: .*404.* by chat: .*404.* by completions: .*404"):
        found(Server())


def test_too_short_a_context_is_told_with_its_key() -> None:
    with pytest.raises(UnsuitableServerError, match=r"teacher\.engine\.max_model_len \(128\) should be at most 64"):
        found(Server(ids=True, context=64))
    assert found(Server(ids=True, context=128)).mode is Mode.IDS


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_wants_a_key_is_told(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = lambda path, body: Reply(status, b"who are you?")  # noqa: E731
    with pytest.raises(UnsuitableServerError, match=r"models\.teacher\.api_key_env should name"):
        found(closed)
    monkeypatch.setenv("TEACHER_KEY", "k-123")
    with pytest.raises(UnsuitableServerError, match="does not take the API key in TEACHER_KEY") as error:
        found(closed, api_key_env="TEACHER_KEY")
    assert "k-123" not in str(error.value)


def test_a_key_that_is_not_set_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(UnsuitableServerError, match=r"TEACHER_KEY must hold .* set it where the run is started"):
        found(Server(ids=True), api_key_env="TEACHER_KEY")


def test_nobody_at_the_address_is_told() -> None:
    async def gone(server: StandIn) -> Wire:
        endpoint = EndpointSettings(url="http://127.0.0.1:9/v1", model="big")
        return await detect(endpoint, Characters(), 128, QUICK)

    with pytest.raises(UnsuitableServerError, match=r"the teacher's server is not there: .*ConnectError"):
        run_with(in_turn([Reply()]), gone)


def test_a_list_of_models_in_another_form_is_passed_over() -> None:
    server = Server(ids=True)

    def answer(path: str, body: dict[str, Any]) -> Reply:
        return Reply(200, json.dumps(["big"]).encode()) if path == "/v1/models" else server(path, body)

    assert found(answer).mode is Mode.IDS
