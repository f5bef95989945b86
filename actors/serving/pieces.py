"""A piece of an answer's text, and who wrote it."""

from __future__ import annotations

from dataclasses import dataclass

from actors.trajectory import Source


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One visible token with its log-prob."""

    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Piece:
    """Text by one writer."""

    text: str
    writer: Source
    logprobs: tuple[TokenLogprob, ...] = ()
    """of the tokens that begin in this text; zeros if not asked for"""
