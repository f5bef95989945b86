"""Records one answer while it is written: its text in pieces, its calls, and its numbers at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby

from actors.engines.pacing import Pace, SendSignal
from actors.relay.sequence import RelaySequence
from actors.relay.turns import TeacherTurn
from actors.serving.answer_text import AnswerText
from actors.serving.events import CallBegan, CallReport, Event, Span
from actors.serving.pieces import Piece
from actors.trajectory import Call, CallEnding, Source


@dataclass(slots=True)
class _OpenCall:
    start: int
    requested: int
    began_s: float
    prompt_tokens: int
    first_token_s: float | None = None


@dataclass(slots=True)
class PieceLog:
    """The visible text so far: how long it is, and who wrote what."""

    characters: int = 0
    spans: list[Span] = field(default_factory=list)

    def add(self, pieces: Sequence[Piece]) -> list[Event]:
        """Note the pieces; return those that have text."""
        visible = [piece for piece in pieces if piece.text]
        for piece in visible:
            start, self.characters = self.characters, self.characters + len(piece.text)
            if self.spans and self.spans[-1].writer is piece.writer:
                self.spans[-1] = replace(self.spans[-1], end=self.characters)
            else:
                self.spans.append(Span(piece.writer, start, self.characters))
        return list[Event](visible)


@dataclass(slots=True)
class Recorder:
    """A `Follower` of relay decoding. `signal` tells when there are events to take, or when a stop text was found.

    A writer's first text, calls and stop texts are urgent. Tokens after a first text are read when events are taken.
    """

    text: AnswerText
    ended: Callable[[CallReport], None] | None = None
    """is told each call when it has ended"""
    clock: Callable[[], float] = time.perf_counter
    signal: SendSignal = field(default_factory=lambda: SendSignal(Pace()))
    calls: list[CallReport] = field(default_factory=list)
    shown: PieceLog = field(default_factory=PieceLog)
    """the visible text"""
    prompt_cached_tokens: int = 0
    """prompt tokens of the first turn that its engine's prefix cache held"""
    _events: list[Event] = field(default_factory=list)
    _open: _OpenCall | None = None
    _turns: int = 0
    _waiting: list[tuple[Source, list[int], list[float]]] = field(default_factory=list)
    """tokens that were not read"""
    _is_fresh: bool = True
    """whether the present writer has shown no text yet"""
    _is_urgent: bool = False
    """whether one of the events should not wait"""

    def begin(self, sequence: RelaySequence) -> None:
        """Learn the limits of the answer. Call it before the first turn."""
        self.text.begin(sequence)

    def writes(self, source: Source, ids: list[int], logprobs: list[float]) -> None:
        """See `Follower`."""
        if self._open is not None and self._open.first_token_s is None:
            self._open.first_token_s = self.clock() - self._open.began_s
        self._waiting.append((source, ids, logprobs))
        if self._is_fresh or self.text.has_stops:
            self._read()
        if self._waiting or self._has_news:
            self.signal.tell(urgent=self._is_urgent)

    def wrote(self, sequence: RelaySequence) -> None:
        """See `Follower`."""
        if self._turns == 0:
            self.prompt_cached_tokens = sequence.usage.student.cached_tokens
        self._turns += 1
        self._read()
        self.text.wrote(sequence)
        for call in sequence.calls[len(self.calls) :]:
            self._ended(call, sequence)
        if not self.text.stopped and isinstance(turn := sequence.next_turn(), TeacherTurn):
            self._begins(turn.requested, len(turn.request.prompt_ids))
        self._take_pieces()
        if self._has_news:
            self.signal.tell(urgent=self._is_urgent)

    def take(self) -> list[Event]:
        """Return the events since the last call."""
        self._read()
        events, self._events = self._events, []
        self._is_urgent = False
        return events

    def end(self, cut_off: bool = False) -> list[Event]:
        """Return the last events of an answer, which a limit may have `cut_off`. A call that a stop text has ended is reported here."""
        self._read()
        self.text.end(cut_off)
        self._take_pieces()
        if (call := self._open) is not None:
            self._open = None
            report = CallReport(
                start=call.start,
                end=self._position(),
                requested=call.requested,
                written=self.text.turn_tokens,
                duration_s=self.clock() - call.began_s,
                first_token_s=call.first_token_s,
                ending=CallEnding.END_OF_TEXT,
                reason="a stop text ended the answer",
                prompt_tokens=call.prompt_tokens,
                cached_tokens=0,
            )
            self._events.append(report)
            self.calls.append(report)
        # A stop text may begin before a place that was told already.
        most = self.shown.characters
        self.calls = [replace(call, start=min(call.start, most), end=min(call.end, most)) for call in self.calls]
        return self.take()

    def _begins(self, requested: int, prompt_tokens: int) -> None:
        self._turn_to(Source.TEACHER)
        self._is_urgent = True
        self._open = _OpenCall(self._position(), requested, self.clock(), prompt_tokens)
        self._events.append(CallBegan(self._open.start, requested))

    def _ended(self, call: Call, sequence: RelaySequence) -> None:
        """Report a call. One that had no turn of its own, because no token was allowed, begins and ends at once."""
        self._turn_to(Source.STUDENT)
        self._is_urgent = True
        opened, self._open = self._open, None
        if opened is None:
            opened = _OpenCall(self._position(), call.requested, self.clock(), 0)
            self._events.append(CallBegan(opened.start, call.requested))
        report = CallReport(
            start=opened.start,
            end=self._position(),
            requested=call.requested,
            written=call.written,
            duration_s=call.duration_s,
            first_token_s=opened.first_token_s,
            ending=call.ending,
            reason=sequence.failures[-1] if call.ending is CallEnding.FAILED else None,
            prompt_tokens=call.prompt_tokens or opened.prompt_tokens,
            cached_tokens=call.cached_tokens,
        )
        self.calls.append(report)
        self._events.append(report)
        if self.ended is not None:
            self.ended(report)

    def _turn_to(self, writer: Source) -> None:
        self.text.turn_to(writer)
        self._take_pieces()
        self._is_fresh = True

    def _position(self) -> int:
        return self.shown.characters + self.text.held_characters

    def _take_pieces(self) -> None:
        shown = self.shown.add(self.text.take())
        self._events += shown
        if self.text.stopped or (self._is_fresh and shown):
            self._is_urgent = True
        self._is_fresh = self._is_fresh and not shown

    @property
    def _has_news(self) -> bool:
        return bool(self._events) or self.text.stopped

    def _read(self) -> None:
        """Give the tokens that wait to the text, those of one writer together."""
        waiting, self._waiting = self._waiting, []
        for source, parts in groupby(waiting, lambda part: part[0]):
            ids, logprobs = zip(*((ids, logprobs) for _, ids, logprobs in parts), strict=True)
            self.text.writes(source, [*chain(*ids)], [*chain(*logprobs)])
        if waiting:
            self._take_pieces()
