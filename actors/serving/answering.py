"""Writes one answer on the student's replica, as a stream of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from actors.engines.base import Engine
from actors.engines.pacing import Pace
from actors.relay.budget import Budget
from actors.relay.grammar import CommandGrammar
from actors.relay.handoff import Handoff
from actors.relay.loop import relay
from actors.relay.sequence import RelaySequence, RelaySetup
from actors.relay.tokenizer import Tokenizer
from actors.relay.turns import Finished, StudentTurn, TeacherTurn, Turn
from actors.relay.usage import Prices, Usage
from actors.serving.answer_text import AnswerText
from actors.serving.events import CallReport, Event, Finish, Summary, TeacherState
from actors.serving.recorder import Recorder
from actors.serving.request import AnswerRequest
from actors.settings import RelayLimits
from actors.trajectory import FinishReason

_PRICED_TOKENS = 1_000_000


class Teachers(Protocol):
    """Gives each answer its teacher, and knows whether it can be reached."""

    @property
    def away(self) -> bool:
        """Whether calls failed again and again, so that answers should do without."""
        ...

    def engine(self, session: str) -> Engine:
        """Return the engine for one answer. Equal sessions go to the same replica."""
        ...

    def ended(self, call: CallReport) -> None:
        """Take note of a call of an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Answerer:
    """Writes answers with one student engine and a teacher."""

    student: Engine
    teachers: Teachers | None
    tokenizer: Tokenizer
    teacher_tokenizer: Tokenizer
    grammar: CommandGrammar
    handoff: Handoff
    student_context_tokens: int
    teacher_context_tokens: int
    limits: RelayLimits
    prices: Prices
    pace: Pace
    version: Callable[[], int]
    """returns the policy version of the student's weights"""

    async def answer(self, request: AnswerRequest) -> AsyncGenerator[list[Event], None]:
        """Yield the events of an answer as they happen; the last one is its `Summary`.

        All events that wait come together, as often as `pace` allows. Closing the iterator aborts the turn under way, in
        whichever engine it is. Raises `EngineError` if the student fails.
        """
        started = time.perf_counter()
        state = self._teacher_state(request)
        engine = None
        if state is TeacherState.ON:
            assert self.teachers is not None
            engine = self.teachers.engine(request.session)
        sequence = self._sequence(request, 0 if engine is None else request.max_calls)
        text = AnswerText(self.tokenizer, self.teacher_tokenizer, self.handoff, request.stops, request.shows_commands)
        with self.pace.stream() as signal:
            recorder = Recorder(text, ended=None if self.teachers is None else self.teachers.ended, signal=signal)
            recorder.begin(sequence)
            writing = asyncio.ensure_future(relay(sequence, self.student, engine, recorder))
            writing.add_done_callback(lambda _: signal.tell(urgent=True))
            try:
                while not (writing.done() or text.stopped):
                    await signal.wait()
                    if events := recorder.take():
                        yield events
                if not text.stopped:
                    writing.result()
            finally:
                writing.cancel()
        last = recorder.end(cut_off=finish_of(sequence.next_turn()) is Finish.LENGTH)
        yield [*last, self._summary(request, sequence, recorder, state, time.perf_counter() - started)]

    def _teacher_state(self, request: AnswerRequest) -> TeacherState:
        if self.teachers is None or not request.wants_teacher:
            return TeacherState.OFF
        return TeacherState.AWAY if self.teachers.away else TeacherState.ON

    def _sequence(self, request: AnswerRequest, max_calls: int) -> RelaySequence:
        limits = {"max_new_tokens": request.max_tokens, "max_calls": max_calls}
        setup = RelaySetup(
            grammar=self.grammar,
            handoff=self.handoff,
            limits=self.limits.model_copy(update=limits),
            student_sampling=request.student_sampling,
            teacher_sampling=request.teacher_sampling,
            student_context_tokens=self.student_context_tokens,
            teacher_context_tokens=self.teacher_context_tokens,
            want_logprobs=request.want_logprobs,
            want_teacher_logprobs=request.want_logprobs,
        )
        budget = Budget(
            teacher_tokens=request.max_teacher_tokens,
            call_ratio=request.max_call_ratio,
            cost=request.max_cost,
            prices=self.prices,
        )
        return RelaySequence(request.prompt, setup, seed=request.seed, budget=budget)

    def _summary(
        self,
        request: AnswerRequest,
        sequence: RelaySequence,
        recorder: Recorder,
        state: TeacherState,
        duration_s: float,
    ) -> Summary:
        turn, output, usage = sequence.next_turn(), sequence.output, sequence.usage
        unfinished = recorder.text.turn_tokens if not isinstance(turn, Finished) else 0
        if unfinished:  # a stop text was found within a turn
            _count_unfinished(usage, turn, unfinished)
        by_teacher = unfinished if isinstance(turn, TeacherTurn) else 0
        visible = len(output.without_commands()) + unfinished
        alone = self.prices.teacher
        versions = sorted(set(map(int, np.unique(output.versions))) - {-1})
        return Summary(
            finish=finish_of(turn),
            spans=tuple(recorder.shown.spans),
            calls=tuple(recorder.calls),
            student_tokens=output.student_tokens + unfinished - by_teacher,
            teacher_tokens=output.teacher_tokens + by_teacher,
            rejected_commands=sequence.rejected.total,
            usage=usage,
            cost=usage.cost(self.prices),
            teacher_alone_cost=(len(request.prompt.teacher_ids) * alone.input + visible * alone.output)
            / _PRICED_TOKENS,
            teacher=state,
            policy_version=self.version(),
            policy_versions=tuple(versions or [self.version()]),
            duration_s=duration_s,
            stop_text=recorder.text.stop_text,
            prompt_tokens=len(request.prompt.student_ids),
            prompt_cached_tokens=recorder.prompt_cached_tokens,
        )


def finish_of(turn: Turn) -> Finish:
    """Return why an answer ended. One that is not finished was ended by a stop text."""
    return Finish.LENGTH if isinstance(turn, Finished) and turn.reason is FinishReason.LENGTH else Finish.STOP


def _count_unfinished(usage: Usage, turn: Turn, tokens: int) -> None:
    assert isinstance(turn, StudentTurn | TeacherTurn)
    of = usage.student if isinstance(turn, StudentTurn) else usage.teacher
    of.add_turn(len(turn.request.prompt_ids), 0, tokens)
