"""A remote teacher behind an OpenAI-compatible `/v1/completions` endpoint with token ids, such as vLLM's."""

from __future__ import annotations

import asyncio
import os
import random

import httpx
import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from actors.engines.base import EngineError, Generation, GenerationRequest, StopReason

_EXCERPT_CHARACTERS = 300
_LEAST_LOGIT_BIAS = -100.0
"""the least value that servers accept; it divides a token's odds by e^100, which practically excludes it"""


class OpenAIEngine:
    """An `Engine` over HTTP, for teachers only: it returns no log-probs, and policy version -1.

    Connection errors and the statuses 429 and 5xx are retried with growing pauses, all within `timeout_s`. Other errors
    are raised at once. The API key is read from the environment variable named by `api_key_env`; ValueError if that is
    not set. Close the engine with `aclose`.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key_env: str | None = None,
        timeout_s: float = 120.0,
        max_retries: int = 3,
        backoff_s: float = 0.5,
    ) -> None:
        headers = {}
        if api_key_env is not None:
            key = os.environ.get(api_key_env)
            if not key:
                raise ValueError(
                    f"the environment variable {api_key_env} must hold the teacher's API key, and is not set"
                )
            headers["Authorization"] = f"Bearer {key}"
        self._url = f"{base_url.rstrip('/')}/completions"
        self._model = model
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._backoff_s = backoff_s
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=min(timeout_s, 10.0)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )

    async def generate(self, request: GenerationRequest) -> Generation:
        """Return one turn. Raises `EngineError`; for an HTTP error it has the status and the start of the body."""
        if request.want_logprobs:
            raise EngineError(
                "a remote engine returns no log-probs of the sampled distribution: train with a local student"
            )
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._post(_Body.of(request, self._model))
        except TimeoutError:
            raise EngineError(f"{self._url} did not answer within {self._timeout_s} s") from None
        return _generation(response, request, self._url)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _post(self, body: _Body) -> httpx.Response:
        content = body.model_dump_json(exclude_none=True)
        headers = {"Content-Type": "application/json"}
        for attempt in range(self._max_retries + 1):
            try:
                response = await self._client.post(self._url, content=content, headers=headers)
            except httpx.InvalidURL as error:
                raise EngineError(f"{self._url} is no valid URL: {error}") from error
            except httpx.HTTPError as error:
                failure = f"{self._url} could not be reached: {type(error).__name__} {error}".rstrip()
                transient = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError | httpx.ConnectTimeout)
            else:
                if response.status_code == httpx.codes.OK:
                    return response
                failure = f"{self._url} answered {response.status_code}: {_excerpt(response)}"
                transient = response.status_code >= 500 or response.status_code == httpx.codes.TOO_MANY_REQUESTS
            if not transient:
                raise EngineError(failure)
            if attempt < self._max_retries:
                await asyncio.sleep(self._backoff_s * 2**attempt * random.uniform(0.5, 1.0))
        raise EngineError(f"{failure} (tried {self._max_retries + 1} times)")


class _Body(BaseModel):
    """The request. It sets all sampling parameters; else the server would take them from the model's generation config."""

    model: str
    prompt: list[int]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    return_token_ids: bool = True
    add_special_tokens: bool = False
    stop: list[str] | None = None
    include_stop_str_in_output: bool | None = None
    logit_bias: dict[int, float] | None = None

    @classmethod
    def of(cls, request: GenerationRequest, model: str) -> _Body:
        return cls(
            model=model,
            prompt=list(request.prompt_ids),
            max_tokens=request.max_tokens,
            temperature=request.sampling.temperature,
            top_p=request.sampling.top_p,
            top_k=max(request.sampling.top_k, 0),
            stop=None if request.stop_text is None else [request.stop_text],
            include_stop_str_in_output=None if request.stop_text is None else True,
            logit_bias=dict.fromkeys(request.excluded, _LEAST_LOGIT_BIAS) or None,
        )


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")

    finish_reason: str | None
    stop_reason: int | str | None = None
    token_ids: list[int] | None = None


class _PromptTokensDetails(BaseModel):
    model_config = ConfigDict(extra="ignore")

    cached_tokens: NonNegativeInt | None = None


class _Usage(BaseModel):
    """What the request cost. vLLM reports the details only if it was started with `--enable-prompt-tokens-details`."""

    model_config = ConfigDict(extra="ignore")

    prompt_tokens: NonNegativeInt | None = None
    prompt_tokens_details: _PromptTokensDetails | None = None


class _Completion(BaseModel):
    model_config = ConfigDict(extra="ignore")

    choices: list[_Choice]
    usage: _Usage | None = None


def _generation(response: httpx.Response, request: GenerationRequest, url: str) -> Generation:
    try:
        completion = _Completion.model_validate_json(response.content)
    except ValidationError as error:
        raise EngineError(f"{url} answered something that is no completion: {_excerpt(response)}") from error
    if len(completion.choices) != 1:
        raise EngineError(f"{url} answered {len(completion.choices)} choices instead of 1")
    choice = completion.choices[0]
    if choice.token_ids is None:
        raise EngineError(f"{url} gave no token ids: the server must support `return_token_ids`, as vLLM does")
    count = len(choice.token_ids)
    if not 0 < count <= request.max_tokens:
        raise EngineError(f"{url} wrote {count} tokens where 1 to {request.max_tokens} were asked for")
    usage = completion.usage or _Usage()
    details = usage.prompt_tokens_details or _PromptTokensDetails()
    return Generation(
        token_ids=np.asarray(choice.token_ids, np.int32),
        logprobs=np.zeros(count, np.float32),
        versions=np.full(count, -1, np.int32),
        stop=_stop(choice, url),
        prompt_tokens=len(request.prompt_ids) if usage.prompt_tokens is None else usage.prompt_tokens,
        cached_tokens=details.cached_tokens or 0,
    )


def _stop(choice: _Choice, url: str) -> StopReason:
    match choice.finish_reason, choice.stop_reason:
        case "length", _:
            return StopReason.LENGTH
        case "stop", str():
            return StopReason.STOP_TEXT
        case "stop", _:
            return StopReason.END_OF_TEXT
        case reason, _:
            raise EngineError(f"{url} finished for an unknown reason: {reason!r}")


def _excerpt(response: httpx.Response) -> str:
    return response.text[:_EXCERPT_CHARACTERS]
