"""The text of an answer while it is written: without commands, up to a stop text, and with the writer of each piece."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.relay.grammar import begun_tag, hidden_spans, outside, settled_end
from actors.relay.handoff import Handoff, IdHandoff, whole_text
from actors.relay.output import Output
from actors.relay.tokenizer import Tokenizer
from actors.serving.pieces import Piece, TokenLogprob
from actors.serving.stop_texts import StopTexts
from actors.trajectory import Source

_REPLACEMENT = "\ufffd"
_MOST_BYTES = 4
"""of one character in UTF-8"""
_MOST_TOKENS = 16
"""that may each end within a character, so that none of them has a text of its own"""


class Written(Protocol):
    """The parts of a sequence that its text depends on."""

    @property
    def output(self) -> Output: ...

    @property
    def turn_room(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Token:
    id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class _Unit:
    """The fewest tokens that end with a whole character."""

    tokens: tuple[_Token, ...]
    text: str


class _Pending:
    """Groups tokens, so that each group is the fewest that end with a whole character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.units: list[_Unit] = []
        self._unfinished: list[_Token] = []

    @property
    def tokens(self) -> list[_Token]:
        """All tokens, in order."""
        return [token for unit in self.units for token in unit.tokens] + self._unfinished

    def add(self, tokens: Iterable[_Token]) -> None:
        """Append tokens."""
        for token in tokens:
            self._unfinished.append(token)
            text = self._text()
            if not self._is_unfinished(text):
                self._finish(text)

    def end(self) -> None:
        """Take the last group as it is. Nothing follows."""
        if self._unfinished:
            self._finish(self._text())

    def _text(self) -> str:
        return self._tokenizer.decode([token.id for token in self._unfinished])

    def _finish(self, text: str) -> None:
        self.units.append(_Unit(tuple(self._unfinished), text))
        self._unfinished.clear()

    def _is_unfinished(self, text: str) -> bool:
        if not text.endswith(_REPLACEMENT):
            return False
        # More than one at the end are mostly bytes that are no text. Some tokenizers write one for each byte of an unfinished character.
        most = _MOST_BYTES if text.endswith(2 * _REPLACEMENT) else _MOST_TOKENS
        ids = [token.id for token in self._unfinished]
        return len(ids) < most and self._tokenizer.encode(text) != ids


class AnswerText:
    """Follows one sequence, and gives its text out as early as it is certain.

    All pieces together are the answer's text. In the student's text commands are hidden, by the rules of `without_commands`, unless
    `shows_commands` says otherwise. Text that may become a command is held back, because the command may be hidden, or
    taken back. The same holds for text that may become one of the `stops`, also where student and teacher text meet.
    """

    def __init__(
        self,
        student: Tokenizer,
        teacher: Tokenizer,
        handoff: Handoff,
        stops: Sequence[str] = (),
        shows_commands: bool = False,
    ) -> None:
        self._student, self._teacher, self._handoff = student, teacher, handoff
        self._shows_commands = shows_commands
        self._stops = StopTexts(stops)
        self._released: list[Piece] = []
        self._writer = Source.STUDENT
        """of the segment under way"""
        self._pending = _Pending(student)
        """tokens of the segment whose text is not given out"""
        self._given = 0
        """tokens of the output whose text is given out"""
        self._turn = 0
        """tokens of the turn under way"""
        self._teacher_ids: list[int] = []
        """the turn under way, if its vocabulary is another"""
        self._early = ""
        """its text as far as it is given out"""
        self._room = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop text was found. Nothing is given out after it."""
        return self._stops.found is not None

    @property
    def has_stops(self) -> bool:
        """Whether a stop text can end the answer."""
        return self._stops.exist

    @property
    def stop_text(self) -> str | None:
        """The stop text that was found."""
        return self._stops.found

    @property
    def turn_tokens(self) -> int:
        """Tokens of the turn under way, in the writer's vocabulary."""
        return self._turn

    @property
    def writer(self) -> Source:
        """Who wrote last."""
        return self._writer

    @property
    def held_characters(self) -> int:
        """Characters that are part of the text unless they begin a stop text."""
        return self._stops.held_characters

    def begin(self, sequence: Written) -> None:
        """Learn how many tokens the first turn may have. Call it before that turn."""
        self._room = sequence.turn_room

    def writes(self, source: Source, ids: list[int], logprobs: list[float]) -> None:
        """Take tokens of the turn under way. See `Follower`."""
        self._turn += len(ids)
        if source is not self._writer:
            self._end_segment(source)
        if source is Source.TEACHER and not isinstance(self._handoff, IdHandoff):
            self._writes_other_vocabulary(ids)
            return
        self._pending.add(map(_Token, ids, logprobs))
        self._give_out()

    def wrote(self, sequence: Written) -> None:
        """Replace the tokens of the turn by those that the sequence kept. See `Follower`."""
        output = sequence.output
        told, self._pending, self._turn = self._pending.tokens, _Pending(self._student), 0
        self._room = sequence.turn_room
        for i, (token, source) in enumerate(zip(output.ids[self._given :], output.sources[self._given :], strict=True)):
            if source is not self._writer:
                self._end_segment(source)
            logprob = told[i].logprob if i < len(told) and told[i].id == token else 0.0
            self._pending.add([_Token(token, logprob)])
        if self._early:
            self._end_other_vocabulary()
        self._give_out()

    def turn_to(self, writer: Source) -> None:
        """Give out what is held back of the text so far. Its tokens are final, and `writer` writes next."""
        self._end_segment(writer)

    def end(self, cut_off: bool = False) -> None:
        """Give out what is held back. Nothing more is written.

        Of an answer that a limit has `cut_off`, a tag that was begun is hidden: it would have become a command.
        """
        self._give_out(is_whole=True, cut_off=cut_off)
        self._end_segment(self._writer)
        self._released += self._stops.end()

    def take(self) -> list[Piece]:
        """Return the pieces since the last call."""
        released, self._released = self._released, []
        return released

    def _writes_other_vocabulary(self, ids: list[int]) -> None:
        """Give out the teacher's text as far as it certainly fits into the room that the answer has left."""
        self._teacher_ids += ids
        text = whole_text(self._teacher, self._teacher_ids)
        if len(self._student.encode(text)) <= self._room:
            self._release(Piece(text[len(self._early) :], Source.TEACHER))
            self._early = text

    def _end_other_vocabulary(self) -> None:
        """Give out the rest of the teacher's turn, now that its tokens are known."""
        tokens = self._pending.tokens
        text = self._student.decode([token.id for token in tokens])
        self._release(Piece(text[len(self._early) :], Source.TEACHER))
        self._given += len(tokens)
        self._pending, self._teacher_ids, self._early = _Pending(self._student), [], ""

    def _end_segment(self, next_writer: Source) -> None:
        self._give_out(is_whole=True)
        self._writer, self._teacher_ids, self._early = next_writer, [], ""

    def _give_out(self, is_whole: bool = False, cut_off: bool = False) -> None:
        """Give out the pending text that is certain; all of it if the segment is whole."""
        if is_whole:
            self._pending.end()
        units = self._pending.units
        text = "".join(unit.text for unit in units)
        hides = self._writer is Source.STUDENT and not self._shows_commands
        settled = len(text) if is_whole or self._writer is Source.TEACHER else settled_end(text)
        spans = hidden_spans(text) if hides else []
        if hides and cut_off:
            spans.append((begun_tag(text), len(text)))
        start = given = 0
        for unit in units:
            end = start + len(unit.text)
            if end > settled:
                break
            visible = "".join(outside(text, start, end, spans))
            logprobs = tuple(TokenLogprob(unit.text, token.logprob) for token in unit.tokens[-1:])
            self._release(Piece(visible, self._writer, logprobs if visible == unit.text else ()))
            self._given += len(unit.tokens)
            given, start = given + 1, end
        del units[:given]

    def _release(self, piece: Piece) -> None:
        if piece.text:
            self._released += self._stops.pass_on(piece)
