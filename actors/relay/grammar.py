"""The command grammar: it finds `<call>n</call>` in the student's text, and removes it for the teacher."""

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
_PART_OF_CALL = "(?:c(?:a(?:ll?)?)?)?"
_BEGUN_TAG = re.compile(rf"</?{_PART_OF_CALL}\Z")
_OPEN = re.compile(rf"(?:<call>[^<\n]*(?:<(?:/{_PART_OF_CALL})?)?|</?{_PART_OF_CALL})\Z")


class CommandKind(Enum):
    """What a command is, before limits are checked."""

    VALID = auto()
    ZERO = auto()
    MALFORMED = auto()
    """something else than ASCII digits between the tags, or a closing tag alone"""
    UNTERMINATED = auto()
    """an opening tag followed by the end of the text, or by another opening tag"""


@dataclass(frozen=True, slots=True)
class Command:
    """One command, valid or not, at `text[start:end]`."""

    kind: CommandKind
    start: int
    end: int
    requested_tokens: int = 0
    """n of a valid command, at most `MAX_REQUESTED_TOKENS`; 0 for other kinds"""


def command_text(tokens: int) -> str:
    """Return the command that asks the teacher for `tokens` tokens (paper section 2.1)."""
    return f"{CALL_OPEN}{tokens}{CALL_CLOSE}"


def parse_commands(text: str) -> list[Command]:
    """Return all commands of the text in order, valid or not. A closing tag belongs to the nearest opening tag before it."""
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
    """Return the text as the teacher sees it.

    All commands are removed, executed or not, also malformed ones within a line. From other text that looks like a
    command, only the tags are removed, and digits after an opening tag that is never closed: the words in between may be
    reasoning. The surrounding text does not change.
    """
    return _HIDDEN.sub("", text)


def hidden_spans(text: str) -> list[tuple[int, int]]:
    """Return the parts of the text that `without_commands` removes, as starts and ends."""
    return [match.span() for match in _HIDDEN.finditer(text)]


def begun_tag(text: str) -> int:
    """Return where a tag of a command begins that the end of the text cuts off; the text's length if there is none."""
    found = _BEGUN_TAG.search(text)
    return len(text) if found is None else found.start()


def settled_end(text: str) -> int:
    """Return where the text may still change: from there on, more text could make it part of a command."""
    found = _OPEN.search(text)
    return len(text) if found is None else found.start()


class CommandGrammar:
    """Finds and removes commands in token ids. One instance serves all sequences of a tokenizer, and caches each token's text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._pieces: dict[int, str] = {}
        call = tokenizer.encode(CALL_OPEN)
        self.banned: tuple[int, ...] = tuple(call) if len(call) == 1 else ()
        """the id of `<call>`, if that is one token; it is never drawn where commands are forbidden.

        Tokens drawn without it still count as drawn from the policy, although their log-probs exclude this id. The error is
        small: a student trained under the call limit gives this id almost no probability.
        """

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the text of each token, decoded by itself."""
        return [self._piece(token) for token in ids]

    def completes(self, wanted: str, ids: Sequence[int]) -> bool:
        """Return whether the last token completes the wanted text. Reads only as many tokens as that text can span."""
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
        """Return the ids without commands, by the rules of `without_commands`.

        Only the rest of a token that is partly in a command is encoded again, if that is possible.
        """
        pieces = self.pieces(ids)
        text = "".join(pieces)
        spans = hidden_spans(text)
        if not spans:
            return list(ids)
        kept: list[int] = []
        start = 0
        for token, piece in zip(ids, pieces, strict=True):
            end = start + len(piece)
            left = "".join(outside(text, start, end, spans))
            if left == piece and not any(a < start and end < b for a, b in spans):
                kept.append(token)
            elif "\ufffd" in left:  # the rest of the token holds part of a character, so it cannot be encoded by itself
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
    """Return the index of the token that holds the last character of `text[:end]`, for 0 < end <= len(text)."""
    return bisect_left(list(accumulate(map(len, pieces))), end)


def may_begin_command(text: str) -> bool:
    """Return whether the text ends with a part of `<call`. An engine sees only its own turn, so it would not find the whole tag."""
    return any(text.endswith(CALL_START[:length]) for length in range(1, len(CALL_START)))


def _closed(body: str, start: int, end: int) -> Command:
    if not _NUMBER.fullmatch(body):
        return Command(CommandKind.MALFORMED, start, end)
    digits = body.lstrip("0")[: len(str(MAX_REQUESTED_TOKENS)) + 1]
    if not digits:
        return Command(CommandKind.ZERO, start, end)
    return Command(CommandKind.VALID, start, end, min(int(digits), MAX_REQUESTED_TOKENS))


def outside(text: str, start: int, end: int, spans: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Yield the parts of `text[start:end]` that no span covers. The spans are in order."""
    for a, b in spans:
        if b <= start:
            continue
        if a >= end:
            break
        yield text[start : max(a, start)]
        start = min(b, end)
    yield text[start:end]
