"""The answers of the OpenAI protocol, whole or in a stream, read into a `Generation`."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Protocol

import httpx
import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from actors.engines.base import EngineError, Generation, GenerationRequest, OnTokens, StopReason
from actors.engines.http_client import BrokenOffError, bounded, excerpt, whole
from actors.relay.tokenizer import Tokenizer

_BASE_BYTES, _BYTES_PER_TOKEN = 2**20, 2**13
"""an answer may have so many bytes, and so many more for each token that was asked for"""
_END_REASONS = ("stop", "eos", "eos_token", "end_turn")
_REPLACEMENT = "\ufffd"
_LAST_WORD = re.compile(r"\s*\S*\Z")


class _Text(BaseModel):
    model_config = ConfigDict(extra="ignore")

    content: str | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")

    finish_reason: str | None = None
    stop_reason: int | str | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    text: str | None = None
    message: _Text | None = None
    delta: _Text | None = None

    @property
    def written(self) -> str:
        """The text, wherever this kind of answer has it."""
        holder = self.message or self.delta
        return (holder.content if holder is not None else self.text) or ""


class _PromptTokensDetails(BaseModel):
    model_config = ConfigDict(extra="ignore")

    cached_tokens: NonNegativeInt | None = None


class Usage(BaseModel):
    """What the request cost. vLLM reports the details only if it was started with `--enable-prompt-tokens-details`."""

    model_config = ConfigDict(extra="ignore")

    prompt_tokens: NonNegativeInt | None = None
    prompt_tokens_details: _PromptTokensDetails | None = None


class Answer(BaseModel):
    """A whole answer, or one part of a stream. The last part of a stream has no choice."""

    model_config = ConfigDict(extra="ignore")

    choices: list[_Choice]
    usage: Usage | None = None


class Written(Protocol):
    """Collects one turn from one or many parts."""

    told: int
    """tokens that `on_tokens` has got"""

    def take(self, choice: _Choice, url: str) -> None: ...

    @property
    def full(self) -> bool:
        """Whether all tokens are there that were asked for, so that the rest of the answer is not needed."""
        ...

    def tokens(self, stop: StopReason, url: str) -> tuple[list[int], StopReason]:
        """Return the turn's tokens and why it ended, after the last part."""
        ...


class WrittenIds:
    """A turn that comes as token ids."""

    def __init__(self, request: GenerationRequest, on_tokens: OnTokens | None) -> None:
        self._request, self._on_tokens = request, on_tokens
        self._ids: list[int] = []
        self.told = 0

    @property
    def full(self) -> bool:
        return False  # the last part says why the turn ended

    def take(self, choice: _Choice, url: str) -> None:
        if choice.token_ids is None:
            if choice.delta is None and not choice.written and self._ids:
                return
            raise EngineError(f"{url} gave no token ids: the server must support `return_token_ids`, as vLLM does")
        self._ids += choice.token_ids
        if len(self._ids) > self._request.max_tokens:
            raise EngineError(_wrong_count(url, len(self._ids), self._request))
        if self._on_tokens is not None and choice.token_ids:
            self.told += len(choice.token_ids)
            self._on_tokens(choice.token_ids, [0.0] * len(choice.token_ids))

    def tokens(self, stop: StopReason, url: str) -> tuple[list[int], StopReason]:
        if not self._ids:
            raise EngineError(_wrong_count(url, 0, self._request))
        return self._ids, stop


class WrittenText:
    """A turn that comes as text. Its tokens are the student's encoding of that text, cut to the tokens asked for.

    A stream's text is encoded word by word as it comes. The tokens differ from those of the whole text only where a
    tokenizer merges over the space between two words.
    """

    def __init__(self, request: GenerationRequest, on_tokens: OnTokens | None, tokenizer: Tokenizer) -> None:
        self._request, self._on_tokens, self._tokenizer = request, on_tokens, tokenizer
        self._ids: list[int] = []
        self._text = ""
        """not encoded yet"""
        self.told = 0

    @property
    def full(self) -> bool:
        return len(self._ids) >= self._request.max_tokens

    def take(self, choice: _Choice, url: str) -> None:
        self._text += choice.written
        if self._on_tokens is None:
            return
        last = _LAST_WORD.search(self._text)
        end = last.start() if last is not None else 0
        self._encode(self._text[:end])
        self._text = self._text[end:]

    def tokens(self, stop: StopReason, url: str) -> tuple[list[int], StopReason]:
        text = self._text.rstrip(_REPLACEMENT) if stop is StopReason.LENGTH else self._text
        self._encode(text)
        if self.full:
            return self._ids, StopReason.LENGTH
        if stop is StopReason.END_OF_TEXT:
            self._add([self._tokenizer.eos_token_id])
        if not self._ids:
            raise EngineError(f"{url} wrote no text; a server that hides a model's reasoning spends all tokens on that")
        return self._ids, stop

    def _encode(self, text: str) -> None:
        if text:
            self._add(self._tokenizer.encode(text))

    def _add(self, ids: list[int]) -> None:
        ids = ids[: self._request.max_tokens - len(self._ids)]
        self._ids += ids
        if ids and self._on_tokens is not None:
            self.told += len(ids)
            self._on_tokens(ids, [0.0] * len(ids))


def most_bytes(max_tokens: int) -> int:
    """Return how many bytes an answer of so many tokens may have."""
    return _BASE_BYTES + _BYTES_PER_TOKEN * max_tokens


async def read_whole(response: httpx.Response, request: GenerationRequest, written: Written) -> Generation:
    """Return the turn of an answer that comes in one piece. Raises `EngineError`."""
    url = str(response.url)
    answer = answer_of(await whole(response, most_bytes(request.max_tokens)), url)
    if len(answer.choices) != 1:
        raise EngineError(f"{url} answered {len(answer.choices)} choices instead of 1")
    (choice,) = answer.choices
    written.take(choice, url)
    return _generation(request, written, _stop(choice, url), answer.usage, url)


async def read_stream(response: httpx.Response, request: GenerationRequest, written: Written) -> Generation:
    """Return the turn of an answer that comes as server-sent events. Raises `EngineError`.

    A stream that breaks off raises `BrokenOffError` only if nobody has got tokens of it yet: else they would come twice.
    """
    url, stop, usage = str(response.url), None, None
    try:
        async for event in _events(response, most_bytes(request.max_tokens)):
            answer = answer_of(event, url)
            usage = answer.usage or usage
            for choice in answer.choices[:1]:
                written.take(choice, url)
                stop = _stop(choice, url) if choice.finish_reason is not None else stop
            if written.full:
                stop = stop or StopReason.LENGTH
                break
    except httpx.HTTPError as error:
        if not written.told:
            raise
        raise EngineError(f"{url} broke off after {written.told} tokens: {type(error).__name__} {error}") from error
    if stop is None:
        broken = EngineError if written.told else BrokenOffError
        raise broken(f"{url} ended its stream after {written.told} tokens without saying why")
    return _generation(request, written, stop, usage, url)


def answer_of(content: bytes, url: str) -> Answer:
    """Return the answer in a JSON text. Raises `EngineError` if it is none."""
    try:
        return Answer.model_validate_json(content)
    except ValidationError as error:
        raise EngineError(f"{url} answered something that is no completion: {excerpt(content)}") from error


async def _events(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    """Yield the data of each event up to `[DONE]`."""
    rest = b""
    async for part in bounded(response, limit):
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            data = line.strip().removeprefix(b"data:").strip()
            if not line.startswith(b"data:") or not data:
                continue
            if data == b"[DONE]":
                return
            if b'"error"' in data[:200] and (message := _error_in(data)) is not None:
                raise EngineError(f"{response.url} failed within its answer: {message}")
            yield data


def _error_in(data: bytes) -> str | None:
    try:
        found = json.loads(data)
    except ValueError:
        return None
    return excerpt(data) if isinstance(found, dict) and found.get("error") else None


def _generation(
    request: GenerationRequest, written: Written, stop: StopReason, usage: Usage | None, url: str
) -> Generation:
    ids, stop = written.tokens(stop, url)
    usage = usage or Usage()
    details = usage.prompt_tokens_details or _PromptTokensDetails()
    return Generation(
        token_ids=np.asarray(ids, np.int32),
        logprobs=np.zeros(len(ids), np.float32),
        versions=np.full(len(ids), -1, np.int32),
        stop=stop,
        prompt_tokens=len(request.prompt_ids) if usage.prompt_tokens is None else usage.prompt_tokens,
        cached_tokens=details.cached_tokens or 0,
    )


def _stop(choice: _Choice, url: str) -> StopReason:
    if choice.finish_reason in ("length", "max_tokens"):
        return StopReason.LENGTH
    if choice.finish_reason in _END_REASONS:
        return StopReason.STOP_TEXT if isinstance(choice.stop_reason, str) else StopReason.END_OF_TEXT
    raise EngineError(f"{url} finished for an unknown reason: {choice.finish_reason!r}")


def _wrong_count(url: str, count: int, request: GenerationRequest) -> str:
    return f"{url} wrote {count} tokens where 1 to {request.max_tokens} were asked for"
