"""The interface between relay decoding and the engines that generate tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from actors.settings import SamplingSettings
from actors.trajectory import Float32, Int32
from cluster.errors import RunError


class StopReason(IntEnum):
    """Why an engine stopped generating."""

    END_OF_TEXT = 0
    """the last token is the end-of-text token, which is part of the output"""
    STOP_TEXT = 1
    """the last token completes the request's `stop_text`"""
    LENGTH = 2
    """`max_tokens` were written"""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A context as text, for a teacher that takes no token ids."""

    messages: tuple[Message, ...]
    rendered: str
    """the messages through the teacher's chat template, up to where the answer begins"""
    answer: str = ""
    """the assistant's turn so far, which the teacher continues; without commands"""


class ContextIds(list[int]):
    """The token ids of a context that is sent as text. Their number says how long the context is."""

    def __init__(self, ids: Iterable[int], conversation: Conversation) -> None:
        super().__init__(ids)
        self.conversation = conversation


@dataclass(frozen=True, slots=True, eq=False)
class GenerationRequest:
    """One turn: continue `prompt_ids` by at most `max_tokens` tokens."""

    prompt_ids: Sequence[int]
    max_tokens: int
    sampling: SamplingSettings
    stop_text: str | None = None
    """the turn ends with the token that completes this text: the end of a command, or the beginning of a forbidden one"""
    excluded: tuple[int, ...] = ()
    """token ids that are never drawn in this turn"""
    want_logprobs: bool = False
    seed: int | None = None
    """seed of this turn's random numbers, so that they do not depend on other requests; None uses the engine's random numbers"""

    @property
    def conversation(self) -> Conversation | None:
        """The context as text; None if `prompt_ids` alone are sent."""
        return self.prompt_ids.conversation if isinstance(self.prompt_ids, ContextIds) else None


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """What an engine wrote in one turn."""

    token_ids: Int32
    """[t] 0 < t <= max_tokens"""
    logprobs: Float32
    """[t] log-softmax of the logits / temperature at each sampled token; zeros if not asked for"""
    versions: Int32
    """[t] policy version of the weights that sampled each token"""
    stop: StopReason
    prompt_tokens: int
    """tokens of the prompt, as the engine counted them"""
    cached_tokens: int
    """how many of `prompt_tokens` the engine's prefix cache held; 0 if the engine does not report it"""


OnTokens = Callable[[list[int], list[float]], None]
"""is told the tokens of a turn while it is written, with their log-probs; these are zeros if they were not asked for.

It is called in the caller's event loop. Its tokens together are those of the turn's `Generation`.
"""


class EngineError(RunError):
    """The engine could not serve a request; the message says why."""


class EngineLostError(EngineError):
    """The engine's process is gone or cannot be reached. Another engine with the same model can serve the request."""


class Engine(Protocol):
    """Generates tokens. Any number of `generate` calls may run at the same time. Cancelling a call frees its resources."""

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return one turn, or raise `EngineError`. With `on_tokens`, its tokens are told as they are written."""
        ...
