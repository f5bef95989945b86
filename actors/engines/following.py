"""Tells callers the tokens of their turns while vLLM writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actors.engines.base import OnTokens

if TYPE_CHECKING:
    from vllm.v1.engine.output_processor import RequestState


@dataclass(frozen=True, slots=True)
class News:
    """Tokens of one turn since the last news."""

    done: asyncio.Future[Any]
    """of the turn; nothing is told after it is done"""
    on_tokens: OnTokens
    token_ids: list[int]
    logprobs: list[float]
    """zeros if not asked for"""


@dataclass(slots=True)
class Follower:
    """Reads the new tokens of one turn, in the engine's thread."""

    on_tokens: OnTokens
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]
    state: RequestState
    want_logprobs: bool
    _told: int = field(default=0, init=False)

    def news(self) -> News | None:
        """Return the tokens since the last news, or None if there are none."""
        detokenizer = self.state.detokenizer
        assert detokenizer is not None
        if len(detokenizer.token_ids) == self._told:
            return None
        ids = detokenizer.token_ids[self._told :]
        logprobs = [0.0] * len(ids)
        if self.want_logprobs:
            assert self.state.logprobs_processor is not None
            logprobs = self.state.logprobs_processor.logprobs[self._told :]  # type: ignore[assignment,index]
        self._told += len(ids)
        return News(self.done, self.on_tokens, ids, logprobs)


def tell(followers: Iterable[Follower]) -> None:
    """Schedule the news of all followers in their event loops, with one message to each loop."""
    found: dict[asyncio.AbstractEventLoop, list[News]] = {}
    for follower in followers:
        if (news := follower.news()) is not None:
            found.setdefault(follower.loop, []).append(news)
    for loop, news_of_loop in found.items():
        loop.call_soon_threadsafe(_tell, news_of_loop)


def _tell(found: list[News]) -> None:
    for news in found:
        if not news.done.done():
            news.on_tokens(news.token_ids, news.logprobs)
