"""The command grammar: finding `<call>n</call>` in student text and taking it out for the teacher."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import accumulate

from actors.relay.tokenizer import Tokenizer

CALL_START = "<call"
CALL_OPEN = "<call>"
CALL_CLOSE = "</call>"
MAX_REQUESTED_TOKENS = 2**31 - 1

_TAG = re.compile(r"</?call>")
_NUMBER = re.compile(r"[0-9]+")
_HIDDEN = re.compile(r"<call>[^<\n]*</call>|<call>[0-9]*|</call>")


class CommandKind(Enum):
    """What a command amounts to before any limit is looked at."""

    VALID = auto()
    ZERO = auto()
    MALFORMED = auto()
    """anything but ASCII digits between the tags, or a closing tag alone"""
    UNTERMINATED = auto()
    """an opening tag followed by the end of the text, or by another opening tag"""


@dataclass(frozen=True, slots=True)
class Command:
    """One command, or attempt at one, at `text[start:end]`."""

    kind: CommandKind
    start: int
    end: int
    requested_tokens: int = 0
    """n of a valid command, capped at `MAX_REQUESTED_TOKENS`"""


def command_text(tokens: int) -> str:
    """The command that asks the teacher for `tokens` tokens (paper section 2.1)."""
    return f"{CALL_OPEN}{tokens}{CALL_CLOSE}"


def parse_commands(text: str) -> list[Command]:
    """All commands of the text in order. A closing tag belongs to the nearest opening one before it."""
    commands: list[Command] = []
    opened: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
        if tag.group() == CALL_OPEN:
            if opened is not None:
                commands.append(Command(CommandKind.UNTERMINATED, opened.start(), tag.start()))
            opened = tag
        elif opened is None:
            commands.append(Command(CommandKind.MALFORMED, tag.start(), tag.end()))
        else:
            commands.append(_closed(text[opened.end() : tag.start()], opened.start(), tag.end()))
            opened = None
    if opened is not None:
        commands.append(Command(CommandKind.UNTERMINATED, opened.start(), len(text)))
    return commands


def without_commands(text: str) -> str:
    """The text as the teacher sees it.

    Commands vanish whole, executed or not, and so do malformed ones within a line. Of what else looks like one only the
    tags (and digits after a lone opening tag) go: the words between may be reasoning. Nothing around is touched.
    """
    return _HIDDEN.sub("", text)


class CommandGrammar:
    """Commands in token ids. One instance serves all sequences of a tokenizer and remembers each token's text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._pieces: dict[int, str] = {}
        call = tokenizer.encode(CALL_OPEN)
        self.banned: tuple[int, ...] = tuple(call) if len(call) == 1 else ()
        """the id of `<call>` if that is one token: it is not drawn where commands are forbidden.

        The tokens drawn in its place count as the policy's, although their log-probs leave that id out: a student trained
        under the limit gives it next to no probability.
        """

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token by itself."""
        return [self._piece(token) for token in ids]

    def ends_command(self, ids: Sequence[int]) -> bool:
        """Whether the last token completes a `</call>`."""
        return self.completes(CALL_CLOSE, ids)

    def completes(self, wanted: str, ids: Sequence[int]) -> bool:
        """Whether the last token completes the wanted text. Looks no further back than that text can reach."""
        piece = self._piece(ids[-1])
        if wanted[-1] not in piece:
            return False
        text, needed = piece, len(piece) + len(wanted) - 1
        for i in range(len(ids) - 2, -1, -1):
            if len(text) >= needed:
                break
            text = self._piece(ids[i]) + text
        return wanted in text[-needed:]

    def strip(self, ids: Sequence[int]) -> list[int]:
        """The ids without commands, as `without_commands` has it; only characters of cut tokens are encoded anew."""
        pieces = self.pieces(ids)
        text = "".join(pieces)
        spans = [match.span() for match in _HIDDEN.finditer(text)]
        if not spans:
            return list(ids)
        kept: list[int] = []
        start = 0
        for token, piece in zip(ids, pieces, strict=True):
            end = start + len(piece)
            left = "".join(_outside(text, start, end, spans))
            if left == piece and not any(a < start and end < b for a, b in spans):
                kept.append(token)
            elif (
                "\ufffd" in left
            ):  # a cut token that also holds part of a character: no re-encoding of it alone is exact
                return self.tokenizer.encode(without_commands(self.tokenizer.decode(ids)))
            elif left:
                kept.extend(self.tokenizer.encode(left))
            start = end
        return kept

    def _piece(self, token: int) -> str:
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self.tokenizer.decode([token])
        return piece


def token_holding(pieces: Sequence[str], end: int) -> int:
    """Index of the token with the last character of `text[:end]`, for 0 < end <= len(text)."""
    return bisect_left(list(accumulate(map(len, pieces))), end)


def _closed(body: str, start: int, end: int) -> Command:
    if not _NUMBER.fullmatch(body):
        return Command(CommandKind.MALFORMED, start, end)
    digits = body.lstrip("0")[: len(str(MAX_REQUESTED_TOKENS)) + 1]
    if not digits:
        return Command(CommandKind.ZERO, start, end)
    return Command(CommandKind.VALID, start, end, min(int(digits), MAX_REQUESTED_TOKENS))


def _outside(text: str, start: int, end: int, spans: Sequence[tuple[int, int]]) -> Iterator[str]:
    """The parts of `text[start:end]` that no span covers."""
    for a, b in spans:
        if b <= start:
            continue
        if a >= end:
            break
        yield text[start : max(a, start)]
        start = min(b, end)
    yield text[start:end]
