"""An engine that writes what a test tells it to, and a tokenizer over pieces that a test chooses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import numpy as np

from actors.engines.base import Generation, GenerationRequest, OnTokens, StopReason
from actors.relay.grammar import CommandGrammar, token_holding
from actors.relay.tokenizer import Tokenizer

Script = Callable[[GenerationRequest], Sequence[int] | Exception]


class PieceTokenizer:
    """Ids 1, 2, … stand for the given pieces, 0 for the end of text; encoding takes the longest piece that fits."""

    eos_token_id = 0

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = ("", *pieces)
        self._ids = {piece: i for i, piece in enumerate(self._pieces) if i}
        self._longest = max(map(len, self._pieces))

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """Raises ValueError where no piece fits."""
        ids, start = [], 0
        while start < len(text):
            for end in range(min(start + self._longest, len(text)), start, -1):
                if (token := self._ids.get(text[start:end])) is not None:
                    break
            else:
                raise ValueError(f"no piece fits {text[start : start + self._longest]!r}")
            ids.append(token)
            start = end
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._pieces[token] for token in ids)


class ScriptedEngine:
    """Writes the outputs of a script and ends the text where an output ends.

    The script is a function of the request, or outputs to be given in turn; an output that is an exception is raised.
    `before` is awaited before each answer. With `exact_stops` off the engine ignores `stop_text`. Excluded ids are left
    out. A token's log-prob is `-(id + 1) / 1000`. `cached` says how many tokens of a request's prompt a prefix cache
    would have held.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        script: Script | Iterable[Sequence[int] | Exception],
        *,
        version: int = 0,
        exact_stops: bool = True,
        before: Callable[[GenerationRequest], Awaitable[object]] | None = None,
        cached: Callable[[GenerationRequest], int] = lambda _: 0,
    ) -> None:
        self.requests: list[GenerationRequest] = []
        self.in_flight = 0
        self._grammar = CommandGrammar(tokenizer)
        self._eos_token_id = tokenizer.eos_token_id
        self._script = script if callable(script) else _in_turn(script)
        self._version = version
        self._exact_stops = exact_stops
        self._before = before
        self._cached = cached

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """One turn of the script; `on_tokens` gets it as one step."""
        self.requests.append(request)
        self.in_flight += 1
        try:
            if self._before is not None:
                await self._before(request)
            output = self._script(request)
        finally:
            self.in_flight -= 1
        if isinstance(output, Exception):
            raise output
        ids, stop = self._cut(list(output), request)
        if on_tokens is not None:
            on_tokens(ids)
        logprobs = (
            -(np.asarray(ids, np.float32) + 1) / 1000 if request.want_logprobs else np.zeros(len(ids), np.float32)
        )
        return Generation(
            token_ids=np.asarray(ids, np.int32),
            logprobs=logprobs.astype(np.float32),
            versions=np.full(len(ids), self._version, np.int32),
            stop=stop,
            prompt_tokens=len(request.prompt_ids),
            cached_tokens=self._cached(request),
        )

    def _cut(self, ids: list[int], request: GenerationRequest) -> tuple[list[int], StopReason]:
        ids = [*(token for token in ids if token not in request.excluded), self._eos_token_id]
        ids = ids[: ids.index(self._eos_token_id) + 1]
        stop = StopReason.END_OF_TEXT
        if request.stop_text is not None and self._exact_stops:
            pieces = self._grammar.pieces(ids)
            found = "".join(pieces).find(request.stop_text)
            if found >= 0:
                ids = ids[: token_holding(pieces, found + len(request.stop_text)) + 1]
                stop = StopReason.STOP_TEXT
        if len(ids) > request.max_tokens:
            return ids[: request.max_tokens], StopReason.LENGTH
        return ids, stop


def _in_turn(outputs: Iterable[Sequence[int] | Exception]) -> Script:
    remaining = iter(outputs)
    return lambda _: next(remaining)
