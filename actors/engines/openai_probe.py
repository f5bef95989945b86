"""Finds out at the start how a teacher's server can be asked, and refuses one that lacks what a teacher needs."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import httpx

from actors.engines.base import ContextIds, Conversation, EngineError, GenerationRequest, Message
from actors.engines.endpoint import EndpointSettings, Mode, Patience, UnsuitableServerError, Wire
from actors.engines.http_client import HttpClient, MissingKeyError, RefusedError, whole
from actors.engines.openai_answers import Answer, answer_of, most_bytes
from actors.engines.openai_bodies import body_of
from actors.settings import SamplingSettings

logger = logging.getLogger(__name__)

PROBING = Patience(timeout_s=60.0, max_retries=2)
_MODELS_BYTES = 2**22
_UNAUTHORIZED = (401, 403)
_NOT_UNDERSTOOD = (400, 422)
_TEXTS = ("12+34=46;", "The number 3.14 is not 22/7:\n\n\tx = (a, b)", "été, 東京, 😀 \\frac{1}{2}")
_QUESTION = "Count from 1 to 9."
_BEGUN = "1"
_MOST_TOKENS_OF_BEGUN = 2
"""a server that begins a new turn adds at least an end-of-turn token and the header of the next turn besides"""
_GREEDY = SamplingSettings(temperature=0.0)


class ServerTokenizer(Protocol):
    """The parts of a transformers tokenizer that the probe uses."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


class _LackError(Exception):
    """The server lacks what one way of asking needs; the text says what."""


def detected(
    server: EndpointSettings, tokenizer: ServerTokenizer, context_tokens: int, patience: Patience = PROBING
) -> Wire:
    """Return how the server is asked, as `detect` does, from outside of an event loop."""
    return asyncio.run(detect(server, tokenizer, context_tokens, patience))


def reached(server: EndpointSettings, context_tokens: int, patience: Patience = PROBING) -> None:
    """Raise `UnsuitableServerError` if the server is not there, does not take the API key, or has too short a context."""

    async def reach() -> None:
        client = _client(server, patience)
        try:
            await _reach(client, server, context_tokens)
        finally:
            await client.aclose()

    asyncio.run(reach())


async def detect(
    server: EndpointSettings, tokenizer: ServerTokenizer, context_tokens: int, patience: Patience = PROBING
) -> Wire:
    """Return how the server is asked: by `server.mode`, or the best way that it offers.

    `tokenizer` is the teacher's, or the student's if `server.tokenizer` names none. Token ids are best, as nothing is encoded
    twice. Next comes text if the teacher's tokenizer, and so its chat template, is known; else a chat, for which the server
    has the template. `context_tokens` is how long a context may become.

    Raises `UnsuitableServerError` if no way works, and says why of each.
    """
    client = _client(server, patience)
    probe = _Probe(client, server, tokenizer)
    try:
        await _reach(client, server, context_tokens)
        by_text = (Mode.COMPLETIONS, Mode.CHAT) if server.tokenizer else (Mode.CHAT, Mode.COMPLETIONS)
        ways = (server.mode,) if server.mode else (Mode.IDS, *by_text)
        lacks = []
        for mode in ways:
            try:
                wire = await probe.ways[mode]()
            except (_LackError, EngineError) as error:
                lacks.append(f"by {mode}: {error}")
            else:
                _tell(server, wire)
                return wire
    finally:
        await client.aclose()
    raise UnsuitableServerError(f"{server.model} at {server.base} cannot be a teacher. " + ". ".join(lacks))


def _tell(server: EndpointSettings, wire: Wire) -> None:
    logger.info("the teacher %s at %s is asked by %s", server.model, server.base, wire.mode)
    if wire.mode is Mode.COMPLETIONS and server.tokenizer is None:
        logger.warning(
            "the teacher %s is prompted with the student's chat template, since models.teacher.tokenizer names no other",
            server.model,
        )


def _client(server: EndpointSettings, patience: Patience) -> HttpClient:
    try:
        return HttpClient(server, patience)
    except MissingKeyError as error:
        raise UnsuitableServerError(f"{error}: set it where the run is started") from error


async def _reach(client: HttpClient, server: EndpointSettings, context_tokens: int) -> None:
    """Ask for the list of models. A server need not have one, but what it says counts."""

    async def read(response: httpx.Response) -> bytes:
        return await whole(response, _MODELS_BYTES)

    try:
        listed = await client.get("models", read)
    except RefusedError as error:
        if error.status in _UNAUTHORIZED:
            raise UnsuitableServerError(f"{error}: {_key_hint(server)}") from error
        return
    except EngineError as error:
        raise UnsuitableServerError(
            f"the teacher's server is not there: {error}. Start it, or correct its url"
        ) from error
    longest = _context_of(listed, server.model)
    if longest is not None and longest < context_tokens:
        raise UnsuitableServerError(
            f"teacher.engine.max_model_len ({context_tokens}) should be at most {longest}: {server.model} at "
            f"{server.base} has no longer context"
        )


class _Probe:
    """Asks one server for a few tokens, in each way."""

    def __init__(self, client: HttpClient, server: EndpointSettings, tokenizer: ServerTokenizer) -> None:
        self._client, self._server, self._tokenizer = client, server, tokenizer
        self.ways: dict[Mode, Callable[[], Awaitable[Wire]]] = {
            Mode.IDS: self._ids,
            Mode.COMPLETIONS: self._completions,
            Mode.CHAT: self._chat,
        }

    async def _ids(self) -> Wire:
        by_text = {"model": self._server.model, "max_tokens": 1, "temperature": 0.0, "return_token_ids": True}
        for text in _TEXTS:
            answer = await self._post("completions", by_text | {"prompt": text, "add_special_tokens": False})
            seen, own = answer.choices[0].prompt_token_ids, self._tokenizer.encode(text, add_special_tokens=False)
            if answer.choices[0].token_ids is None:
                raise _LackError("it returns no token ids (`return_token_ids`)")
            if seen is None and self._server.mode is Mode.IDS:
                logger.warning(
                    "%s does not return the ids of prompts: its vocabulary is not checked", self._server.base
                )
                break
            if seen != own:
                raise _LackError(
                    "it does not return the ids of prompts, so its vocabulary cannot be checked"
                    if seen is None
                    else f"its tokenizer is another one: it encodes {text!r} as {_few(seen)}, and "
                    f"{self._server.tokenizer or 'the student'} as {_few(own)}; models.teacher.tokenizer should name its own"
                )
        request = GenerationRequest(self._tokenizer.encode(_TEXTS[0], add_special_tokens=False), 1, _GREEDY)
        answer = await self._post(*body_of(request, self._server.model, Wire(), stream=False))
        if len(answer.choices[0].token_ids or ()) != 1:
            raise _LackError("it does not write one token if it is asked for one by ids")
        return Wire(Mode.IDS)

    async def _completions(self) -> Wire:
        question = Conversation((), _TEXTS[0])
        wire, answer = await self._extended_or_plain(Mode.COMPLETIONS, question, max_tokens=2)
        if answer.choices[0].text is None:
            raise _LackError("its answers have no text")
        return wire

    async def _chat(self) -> Wire:
        """Compare prompts with and without a begun answer. Only a server that continues it adds nothing but its tokens."""
        messages = (Message("user", _QUESTION),)
        wire, begun = await self._extended_or_plain(Mode.CHAT, Conversation(messages, "", _BEGUN), max_tokens=16)
        if begun.choices[0].message is None:
            raise _LackError("its answers have no message")
        fresh = await self._ask(wire, Conversation(messages, ""), max_tokens=16)
        counts = [answer.usage.prompt_tokens if answer.usage else None for answer in (begun, fresh)]
        longer, shorter = counts
        if longer is not None and shorter is not None:
            continues = longer - shorter <= _MOST_TOKENS_OF_BEGUN
        else:
            continues = await self._goes_on(wire, messages, begun.choices[0].written)
        if not continues:
            raise _LackError(
                "it begins a new message, where it should continue the assistant's last one (`continue_final_message`)"
            )
        return wire

    async def _goes_on(self, wire: Wire, messages: tuple[Message, ...], first: str) -> bool:
        """Return whether a server that counts no tokens continues: with half of its own greedy answer, it writes the other half."""
        half, rest = first[: len(first) // 2], first[len(first) // 2 :]
        if not half.strip() or not rest.strip():
            return False
        again = await self._ask(wire, Conversation(messages, "", _BEGUN + half), max_tokens=16)
        return again.choices[0].written.strip().startswith(rest.strip()[: max(len(rest) // 2, 1)])

    async def _extended_or_plain(self, mode: Mode, conversation: Conversation, max_tokens: int) -> tuple[Wire, Answer]:
        """Ask with all parameters, and with OpenAI's alone if the server does not understand the others."""
        try:
            wire = Wire(mode)
            return wire, await self._ask(wire, conversation, max_tokens)
        except RefusedError as error:
            if error.status not in _NOT_UNDERSTOOD:
                raise
        wire = Wire(mode, extended=False)
        return wire, await self._ask(wire, conversation, max_tokens)

    async def _ask(self, wire: Wire, conversation: Conversation, max_tokens: int) -> Answer:
        request = GenerationRequest(ContextIds((), conversation), max_tokens, _GREEDY)
        return await self._post(*body_of(request, self._server.model, wire, stream=False))

    async def _post(self, path: str, body: dict[str, object]) -> Answer:
        url = self._client.url(path)

        async def read(response: httpx.Response) -> Answer:
            return answer_of(await whole(response, most_bytes(0)), url)

        try:
            answer = await self._client.post(path, body, read)
        except RefusedError as error:
            if error.status in _UNAUTHORIZED:
                raise UnsuitableServerError(f"{error}: {_key_hint(self._server)}") from error
            raise
        if not answer.choices:
            raise _LackError(f"{url} answered without a choice")
        return answer


def _key_hint(server: EndpointSettings) -> str:
    if server.api_key_env is None:
        return "models.teacher.api_key_env should name the environment variable with its API key"
    return f"it does not take the API key in {server.api_key_env}"


def _context_of(listed: bytes, model: str) -> int | None:
    """Return the context length that a list of models, as vLLM's, gives for the model; None if it gives none."""
    try:
        entries = json.loads(listed)["data"]
        found = [entry.get("max_model_len") for entry in entries if entry.get("id") == model]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return found[0] if found and isinstance(found[0], int) else None


def _few(ids: Sequence[int]) -> str:
    return f"[{', '.join(map(str, ids[:6]))}{', …' if len(ids) > 6 else ''}]"
