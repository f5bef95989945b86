"""One relayed sequence as a state machine without engines: who writes next, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actors.engines.base import EngineError, Generation, GenerationRequest, StopReason
from actors.relay.grammar import CALL_CLOSE, Command, CommandGrammar, CommandKind, parse_commands, token_holding
from actors.relay.handoff import Handoff, RelayPrompt
from actors.settings import RelayLimits, SamplingSettings
from actors.trajectory import Call, CallEnding, FinishReason, RejectedCommands, Source, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySetup:
    """What all sequences of one run share."""

    grammar: CommandGrammar
    """of the student's tokenizer"""
    handoff: Handoff
    limits: RelayLimits
    student_sampling: SamplingSettings
    teacher_sampling: SamplingSettings
    student_context_tokens: int
    """longest prompt and output together that the student takes"""
    teacher_context_tokens: int
    want_logprobs: bool = False
    """of the student's tokens"""


@dataclass(frozen=True, slots=True)
class StudentTurn:
    """The student writes next."""

    request: GenerationRequest


@dataclass(frozen=True, slots=True)
class TeacherTurn:
    """The teacher writes next, as a command asked."""

    request: GenerationRequest
    requested: int
    """n, as the student wrote it"""


@dataclass(frozen=True, slots=True)
class Finished:
    """Nobody writes any more."""

    reason: FinishReason


Turn = StudentTurn | TeacherTurn | Finished


class RelaySequence:
    """Relay decoding of one answer (paper section 2.1), limits included.

    A command must be written by the student alone, with no call in between. Text that an engine wrote past an
    executable command is discarded, as if the engine had stopped exactly. A command with no budget left is a call of 0
    tokens that ends for want of budget. Raises ValueError if the prompt leaves no room for output.
    """

    def __init__(self, prompt: RelayPrompt, setup: RelaySetup) -> None:
        room = setup.student_context_tokens - len(prompt.student_ids)
        if room < 1:
            raise ValueError(
                f"the prompt has {len(prompt.student_ids)} tokens, and the student's context of "
                f"{setup.student_context_tokens} must hold it and at least one more: shorten it or raise max_model_len"
            )
        self.prompt = prompt
        self.setup = setup
        self.failures: list[str] = []
        """why calls failed, in order"""
        self._budget = min(setup.limits.max_new_tokens, room)
        self._ids: list[int] = []
        self._sources: list[Source] = []
        self._logprobs: list[float] = []
        self._versions: list[int] = []
        self._constrained: list[bool] = []
        self._calls: list[Call] = []
        self._rejected = dict.fromkeys(("zero", "malformed", "unterminated", "over_limit"), 0)
        self._unread = ""
        """student text after its last closing tag: an opening tag in it may still be closed"""
        self._stripped: list[int] = []
        """the output without commands, up to `_stripped_to`"""
        self._stripped_to = 0
        self._turn: Turn = self._student_turn()

    def next_turn(self) -> Turn:
        """Who writes next. Stays the same until an outcome of the turn is reported."""
        return self._turn

    def student_wrote(self, generation: Generation) -> None:
        """Take the student's turn; raises `EngineError` if it breaks the engine's contract."""
        turn = self._turn
        assert isinstance(turn, StudentTurn), f"the student wrote out of turn: {turn}"
        ids = _checked(generation, turn.request, "student")
        pieces = self.setup.grammar.pieces(ids)
        unread = self._unread
        text = unread + "".join(pieces)
        command = self._first_executable(text)
        if command is None:
            self._append_student(generation, ids, turn.request.forbid_commands)
            self._read(text)
            if generation.stop is StopReason.END_OF_TEXT:
                self._finish(FinishReason.STUDENT_END)
            elif generation.stop is StopReason.LENGTH or self._room == 0:
                self._finish(FinishReason.LENGTH)
            else:
                self._turn = self._student_turn()
            return
        count = token_holding(pieces, command.end - len(unread)) + 1
        self._append_student(generation, ids[:count], turn.request.forbid_commands)
        self._reject(parse_commands(text[: command.start]))
        rest = "".join(pieces[:count])[command.end - len(unread) :]
        self._reject(parse_commands(rest), valid="malformed")
        self._unread = ""
        self._begin_call(command.requested_tokens)

    def teacher_wrote(self, generation: Generation, duration_s: float) -> None:
        """Take the teacher's turn; raises `EngineError` if it breaks the engine's contract.

        The teacher's end-of-text token becomes the student's and counts as written by the teacher.
        """
        turn = self._turn
        assert isinstance(turn, TeacherTurn), f"the teacher wrote out of turn: {turn}"
        written = _checked(generation, turn.request, "teacher")
        ended = generation.stop is StopReason.END_OF_TEXT
        ids = self.setup.handoff.student_ids(written[:-1] if ended else written)
        if ended:
            ids.append(self.setup.grammar.tokenizer.eos_token_id)
        cut = len(ids) > self._room
        ids = ids[: self._room]
        if ended and not cut:
            ending = CallEnding.END_OF_TEXT
        elif cut or turn.request.max_tokens < turn.requested:
            ending = CallEnding.BUDGET
        else:
            ending = CallEnding.COMPLETED
        self._calls.append(Call(len(self._ids), turn.requested, len(ids), duration_s, ending))
        self._ids += ids
        self._stripped += ids
        self._stripped_to = len(self._ids)
        self._sources += [Source.TEACHER] * len(ids)
        self._logprobs += [0.0] * len(ids)
        self._versions += [-1] * len(ids)
        self._constrained += [False] * len(ids)
        if ending is CallEnding.END_OF_TEXT:
            self._finish(FinishReason.TEACHER_END)
        elif self._room == 0:
            self._finish(FinishReason.LENGTH)
        else:
            self._turn = self._student_turn()

    def teacher_failed(self, reason: str, duration_s: float) -> None:
        """Record a call without an answer. It counts towards the call limit, and the student goes on alone."""
        turn = self._turn
        assert isinstance(turn, TeacherTurn), f"the teacher failed out of turn: {turn}"
        self._fail(turn.requested, reason, duration_s)

    def trajectory(self) -> Trajectory:
        """The finished sample."""
        assert isinstance(self._turn, Finished), f"the sequence is not finished: {self._turn}"
        return Trajectory(
            prompt_ids=np.asarray(self.prompt.student_ids, np.int32),
            token_ids=np.asarray(self._ids, np.int32),
            sources=np.asarray(self._sources, np.uint8),
            logprobs=np.asarray(self._logprobs, np.float32),
            versions=np.asarray(self._versions, np.int32),
            constrained=np.asarray(self._constrained, np.bool_),
            calls=tuple(self._calls),
            rejected=RejectedCommands(**self._rejected),
            finish=self._turn.reason,
            text=self.setup.grammar.tokenizer.decode(self._ids),
        )

    @property
    def _room(self) -> int:
        return self._budget - len(self._ids)

    @property
    def _calls_left(self) -> bool:
        return len(self._calls) < self.setup.limits.max_calls

    def _student_turn(self) -> StudentTurn:
        return StudentTurn(
            GenerationRequest(
                prompt_ids=[*self.prompt.student_ids, *self._ids],
                max_tokens=self._room,
                sampling=self.setup.student_sampling,
                stop_after_command=self._calls_left,
                forbid_commands=not self._calls_left,
                want_logprobs=self.setup.want_logprobs,
            )
        )

    def _first_executable(self, text: str) -> Command | None:
        if not self._calls_left:
            return None
        return next((command for command in parse_commands(text) if command.kind is CommandKind.VALID), None)

    def _read(self, text: str) -> None:
        """Count the commands up to the last closing tag, and keep what follows for the next turn."""
        resolved = text.rfind(CALL_CLOSE) + len(CALL_CLOSE) if CALL_CLOSE in text else 0
        self._reject(parse_commands(text[:resolved]))
        self._unread = text[resolved:]

    def _reject(self, commands: list[Command], valid: str = "over_limit") -> None:
        names = {
            CommandKind.VALID: valid,
            CommandKind.ZERO: "zero",
            CommandKind.MALFORMED: "malformed",
            CommandKind.UNTERMINATED: "unterminated",
        }
        for command in commands:
            self._rejected[names[command.kind]] += 1

    def _append_student(self, generation: Generation, ids: list[int], forbidden: bool) -> None:
        count = len(ids)
        self._ids += ids
        self._sources += [Source.STUDENT] * count
        self._logprobs += generation.logprobs[:count].tolist()
        self._versions += generation.versions[:count].tolist()
        self._constrained += self.setup.grammar.constrained(ids) if forbidden else [False] * count

    def _begin_call(self, requested: int) -> None:
        self._stripped += self.setup.grammar.strip(self._ids[self._stripped_to :])
        self._stripped_to = len(self._ids)
        if self._room == 0:
            self._calls.append(Call(len(self._ids), requested, 0, 0.0, CallEnding.BUDGET))
            self._finish(FinishReason.LENGTH)
            return
        context = self.setup.handoff.teacher_context(self.prompt, self._stripped)
        context_room = self.setup.teacher_context_tokens - len(context)
        if context_room < 1:
            reason = (
                f"the teacher's context of {self.setup.teacher_context_tokens} tokens cannot hold "
                f"the {len(context)} so far and one more"
            )
            self._fail(requested, reason, duration_s=0.0)
            return
        request = GenerationRequest(
            prompt_ids=context,
            max_tokens=min(requested, self._room, context_room),
            sampling=self.setup.teacher_sampling,
        )
        self._turn = TeacherTurn(request, requested)

    def _fail(self, requested: int, reason: str, duration_s: float) -> None:
        self.failures.append(reason)
        self._calls.append(Call(len(self._ids), requested, 0, duration_s, CallEnding.FAILED))
        self._turn = self._student_turn()

    def _finish(self, reason: FinishReason) -> None:
        self._reject(parse_commands(self._unread))
        self._unread = ""
        self._turn = Finished(reason)


def _checked(generation: Generation, request: GenerationRequest, writer: str) -> list[int]:
    count = len(generation.token_ids)
    if not 0 < count <= request.max_tokens:
        raise EngineError(f"the {writer}'s engine wrote {count} tokens where 1 to {request.max_tokens} were asked for")
    ids: list[int] = generation.token_ids.tolist()
    return ids
