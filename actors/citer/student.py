"""The student, one token at a time: each forward pass takes a batch of the sequences that wait for their next token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from actors.citer.cache import SlotCache
from actors.citer.router import TokenRouter
from actors.citer.sampling import draw_tokens
from actors.settings import SamplingSettings
from cluster.errors import RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PREFILL_TOKENS = 16384


class UnsupportedStudentError(RunError, ValueError):
    """The student's architecture has no plain causal attention, which the slot cache assumes."""


def load_student(path: str, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """Return the causal LM in the folder `path`, in evaluation mode.

    Raises `UnsupportedStudentError` unless all layers have full attention.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, attn_implementation="sdpa", use_safetensors=True, trust_remote_code=False
    )
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise UnsupportedStudentError(
            f"{path}: token-level routing needs full attention in all layers, not {sorted(kinds)}"
        )
    return model.to(device).eval()


@dataclass(frozen=True, slots=True, eq=False)
class Mode:
    """How the next token is drawn, and which router judges it."""

    router: TokenRouter | None
    """None gives every token a confidence of 1"""
    sampling: SamplingSettings


@dataclass(frozen=True, slots=True)
class NextToken:
    """The token that the student proposes, and the router's confidence in it."""

    token: int
    confidence: float
    """the router's probability that the student may write it; 1 without a router"""


@dataclass(frozen=True, slots=True, eq=False)
class _Feed:
    slot: int
    start: int
    ids: Sequence[int]
    mode: Mode
    uniform: float
    done: asyncio.Future[NextToken]


class FedSequence:
    """One sequence in the student's cache."""

    def __init__(self, student: SteppedStudent, slot: int) -> None:
        self._student = student
        self._slot = slot
        self._length = 0

    async def feed(self, ids: Sequence[int], mode: Mode, uniform: float) -> NextToken:
        """Append `ids` to the sequence, by either writer, and return the token that the student proposes next.

        Raises what the forward pass raised.
        """
        done: asyncio.Future[NextToken] = asyncio.get_running_loop().create_future()
        self._student.enqueue(_Feed(self._slot, self._length, ids, mode, uniform, done))
        self._length += len(ids)
        return await done


class SteppedStudent:
    """Continuous batching of a transformers model, because the router needs its hidden states after every token.

    A forward pass takes sequences that wait at its start. A sequence that waits for the teacher delays no other one.
    """

    def __init__(self, model: PreTrainedModel, max_sequences: int) -> None:
        self.model = model
        self.device = model.device
        self._cache = SlotCache(max_sequences)
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for slot in range(max_sequences):
            self._free.put_nowait(slot)
        self._waiting: list[_Feed] = []
        self._stepping: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def sequence(self) -> AsyncIterator[FedSequence]:
        """Yield an empty sequence as soon as the cache has a free slot."""
        slot = await self._free.get()
        try:
            yield FedSequence(self, slot)
        finally:
            self._free.put_nowait(slot)

    def enqueue(self, feed: _Feed) -> None:
        self._waiting.append(feed)
        if self._stepping is None:
            self._stepping = asyncio.create_task(self._step())

    async def _step(self) -> None:
        """Run forward passes while any sequence waits. If a pass fails, all sequences of its batch get the error."""
        try:
            while True:
                await asyncio.sleep(0)  # lets the sequences of the last pass ask for their next token
                batch = self._take()
                if not batch:
                    return
                try:
                    found = await asyncio.to_thread(self._forward, batch)
                except Exception as error:  # reported to each sequence, whose owner decides
                    for feed in batch:
                        if not feed.done.done():
                            feed.done.set_exception(error)
                else:
                    for feed, token in zip(batch, found, strict=True):
                        if not feed.done.done():
                            feed.done.set_result(token)
        finally:
            self._stepping = None

    def _take(self) -> list[_Feed]:
        """Return the feeds of the next pass. Prompts go first, the longest ones up to a token limit; else all single tokens go."""
        waiting = [feed for feed in self._waiting if not feed.done.done()]
        prompts = sorted((feed for feed in waiting if len(feed.ids) > 1), key=lambda feed: -len(feed.ids))
        taken = prompts[: max(_PREFILL_TOKENS // len(prompts[0].ids), 1)] if prompts else waiting
        self._waiting = [feed for feed in waiting if feed not in taken]
        return taken

    @torch.inference_mode()
    def _forward(self, batch: Sequence[_Feed]) -> list[NextToken]:
        lengths = torch.tensor([len(feed.ids) for feed in batch], device=self.device)
        width = int(lengths.max())
        ids = torch.tensor([[*feed.ids, *[0] * (width - len(feed.ids))] for feed in batch], device=self.device)
        starts = torch.tensor([feed.start for feed in batch], device=self.device)
        slots = torch.tensor([feed.slot for feed in batch], device=self.device)
        positions = starts[:, None] + torch.arange(width, device=self.device)
        mask = self._cache.aim(slots, positions)
        states = self.model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=self._cache, use_cache=True
        ).last_hidden_state
        hidden = states[torch.arange(len(batch), device=self.device), lengths - 1]
        logits = self.model.get_output_embeddings()(hidden).float()
        found: list[NextToken | None] = [None] * len(batch)
        for mode in {feed.mode for feed in batch}:
            rows = [row for row, feed in enumerate(batch) if feed.mode is mode]
            uniform = torch.tensor([batch[row].uniform for row in rows], device=self.device)
            tokens = draw_tokens(logits[rows], mode.sampling, uniform).tolist()
            for row, token, confidence in zip(rows, tokens, _confidence(mode, hidden[rows]), strict=True):
                found[row] = NextToken(token, confidence)
        return [token for token in found if token is not None]


def _confidence(mode: Mode, hidden: Tensor) -> list[float]:
    if mode.router is None:
        return [1.0] * len(hidden)
    confidence: list[float] = mode.router.confidence(hidden).tolist()
    return confidence
