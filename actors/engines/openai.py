"""A teacher behind an OpenAI-compatible server, asked by token ids, by text or as a chat."""

from __future__ import annotations

import httpx

from actors.engines.base import EngineError, Generation, GenerationRequest, OnTokens
from actors.engines.endpoint import PATIENT, THROUGH_IDS, EndpointSettings, Mode, Patience, Wire
from actors.engines.http_client import HttpClient
from actors.engines.openai_answers import Written, WrittenIds, WrittenText, read_stream, read_whole
from actors.engines.openai_bodies import body_of
from actors.relay.tokenizer import Tokenizer


class OpenAIEngine:
    """An `Engine` over HTTP, for teachers only: it returns no log-probs, and policy version -1.

    By token ids, tokens are in the teacher's vocabulary. By text, they are in the student's, whose `tokenizer` encodes what
    the server wrote. Failures are retried within `patience`. Close the engine with `aclose`.
    """

    def __init__(
        self,
        server: EndpointSettings,
        wire: Wire = THROUGH_IDS,
        tokenizer: Tokenizer | None = None,
        patience: Patience = PATIENT,
    ) -> None:
        """Connect nothing yet. Raises ValueError if the variable with the API key is not set."""
        if wire.mode is not Mode.IDS and tokenizer is None:
            raise ValueError(f"a teacher that is asked by {wire.mode} needs the student's tokenizer")
        self._server, self._wire, self._tokenizer = server, wire, tokenizer
        self._client = HttpClient(server, patience)

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return one turn. Raises `EngineError`; for an HTTP error it has the status and the start of the body.

        With `on_tokens` the answer is streamed. Cancelling the call closes its connection.
        """
        if request.want_logprobs:
            raise EngineError(
                "a remote engine returns no log-probs of the sampled distribution: train with a local student"
            )
        stream = on_tokens is not None
        path, body = body_of(request, self._server.model, self._wire, stream)

        async def read(response: httpx.Response) -> Generation:
            written: Written = (
                WrittenIds(request, on_tokens)
                if self._tokenizer is None or self._wire.mode is Mode.IDS
                else WrittenText(request, on_tokens, self._tokenizer)
            )
            return await (read_stream if stream else read_whole)(response, request, written)

        return await self._client.post(path, body, read)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()
