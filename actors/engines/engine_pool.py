"""Engines with one model: a request goes to the one that holds its prefix, or to the least busy one, and outlives their restarts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from actors.engines.base import Engine, EngineLostError, Generation, GenerationRequest, OnTokens

logger = logging.getLogger(__name__)

_BLOCK_TOKENS = 16
_MOST_BLOCKS = 200_000
_SHARE_THAT_COUNTS = 0.5
"""a prefix shorter than this part of a prompt, such as a chat template's beginning, says nothing about where to go"""
_LEAST_EXCESS = 8
"""an engine that holds a prefix may have so many turns more than the least busy one, or half as many again"""
_AWAY_S = 10.0
"""for this long after an engine was lost, requests go to others if there are any"""
_AGAIN_S = 0.5
"""how long a request waits before it asks again, while all engines are lost"""


class EnginePool:
    """An `Engine` over engines with equal weights.

    A request whose engine is lost goes to another one. While all are lost, it waits until one is back: the caller sets the deadline.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        first: int = 0,
        clock: Callable[[], float] = time.monotonic,
        again_s: float = _AGAIN_S,
    ) -> None:
        """`first` is the engine that gets the first request, so that not all workers begin with the same one."""
        if not engines:
            raise ValueError("a pool needs at least one engine")
        self._engines, self._clock, self._again_s = engines, clock, again_s
        self._loads = [0] * len(engines)
        self._last_used = [(number - first) % len(engines) - len(engines) for number in range(len(engines))]
        self._back_at = [float("-inf")] * len(engines)
        self._requests = 0
        self._holders: OrderedDict[int, int] = OrderedDict()
        """which engine has last seen the prefix with this hash"""

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return one turn of one of the engines, or raise its `EngineError`.

        Raises `EngineLostError` if an engine is lost after its first tokens were told.
        """
        told = False

        def tell(token_ids: list[int], logprobs: list[float]) -> None:
            nonlocal told
            told = True
            assert on_tokens is not None
            on_tokens(token_ids, logprobs)

        blocks = _blocks(request.prompt_ids)
        left = set(range(len(self._engines)))
        while True:
            chosen = self._choose(blocks, sorted(left))
            try:
                return await self._ask(chosen, blocks, request, tell if on_tokens is not None else None)
            except EngineLostError as error:
                self._lost(chosen, error)
                if told:
                    raise
                left.discard(chosen)
            if not left:
                await asyncio.sleep(self._again_s)
                left.update(range(len(self._engines)))

    def _lost(self, number: int, error: EngineLostError) -> None:
        now = self._clock()
        if self._back_at[number] <= now:
            logger.warning(
                "teacher %d is lost, its calls go to another or wait for it until their deadline: %s", number, error
            )
        self._back_at[number] = now + _AWAY_S

    async def _ask(
        self, number: int, blocks: Sequence[int], request: GenerationRequest, on_tokens: OnTokens | None
    ) -> Generation:
        self._requests += 1
        self._last_used[number] = self._requests
        self._loads[number] += 1
        self._hold(blocks, number)
        try:
            generation = await self._engines[number].generate(request, on_tokens)
        finally:
            self._loads[number] -= 1
        self._back_at[number] = float("-inf")
        self._hold(_blocks([*request.prompt_ids, *generation.token_ids.tolist()]), number)
        return generation

    def _choose(self, blocks: Sequence[int], among: Sequence[int]) -> int:
        now = self._clock()
        there = [number for number in among if self._back_at[number] <= now] or list(among)
        least = min(there, key=lambda number: (self._loads[number], self._last_used[number]))
        holder = self._holder(blocks)
        if holder in there and self._loads[holder] <= max(1.5 * self._loads[least], self._loads[least] + _LEAST_EXCESS):
            return holder
        return least

    def _holder(self, blocks: Sequence[int]) -> int:
        """Return the engine with the longest known prefix that is long enough to count; -1 if there is none."""
        shortest = max(int(len(blocks) * _SHARE_THAT_COUNTS), 1)
        return next((self._holders[found] for found in reversed(blocks[shortest - 1 :]) if found in self._holders), -1)

    def _hold(self, blocks: Sequence[int], number: int) -> None:
        for block in blocks:
            self._holders[block] = number
            self._holders.move_to_end(block)
        while len(self._holders) > _MOST_BLOCKS:
            self._holders.popitem(last=False)


def _blocks(ids: Sequence[int]) -> list[int]:
    """Return a hash for each whole block of tokens, made of all tokens up to its end."""
    found: list[int] = []
    before = 0
    for start in range(0, len(ids) - _BLOCK_TOKENS + 1, _BLOCK_TOKENS):
        before = hash((before, *ids[start : start + _BLOCK_TOKENS]))
        found.append(before)
    return found
