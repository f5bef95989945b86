"""One relayed sequence as a state machine without engines: who writes next, and what came of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from actors.engines.base import EngineError, Generation, GenerationRequest, StopReason
from actors.relay.grammar import CALL_CLOSE, Command, CommandGrammar, CommandKind, parse_commands, token_holding
from actors.relay.handoff import Handoff, RelayPrompt
from actors.relay.placements import Plan
from actors.relay.seeds import derived_seed
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
    """The teacher writes next."""

    request: GenerationRequest
    requested: int
    """tokens as command, fixed length or plan have it, before any budget cuts them"""
    commanded: int
    """n, as the student wrote it; 0 for a planned call"""


@dataclass(frozen=True, slots=True)
class Finished:
    """Nobody writes any more."""

    reason: FinishReason


Turn = StudentTurn | TeacherTurn | Finished


class RelaySequence:
    """Relay decoding of one answer (paper section 2.1), limits included.

    A command must be written by the student alone, with no call in between. Text that an engine wrote past an
    executable command is discarded, as if the engine had stopped exactly. A command with no budget left is a call of 0
    tokens that ends for want of budget.

    With a plan the student calls nobody: commands are forbidden, and the planned calls are made instead, each where the
    student has written as many tokens as its placement says. Those of an answer that ends before are not made. The plan
    alone says how many there are: `max_calls` is about commands.

    Raises ValueError if the prompt leaves no room for output.
    """

    def __init__(
        self, prompt: RelayPrompt, setup: RelaySetup, plan: Plan | None = None, seed: int | None = None
    ) -> None:
        """`seed` decides the random numbers of all turns; None leaves them to the engines."""
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
        self._max_commands = setup.limits.max_calls if plan is None else 0
        self._planned = deque(sorted(plan or ()))
        self._seed = seed
        self._turns = 0
        self.needs_teacher = self._max_commands > 0 or bool(self._planned)
        """whether there can be a call"""
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
        self._student_tokens = 0
        self._turn: Turn = self._next_turn()

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
                self._turn = self._finished(FinishReason.STUDENT_END)
            elif generation.stop is StopReason.LENGTH and not self._call_is_due:
                self._turn = self._finished(FinishReason.LENGTH)
            else:
                self._turn = self._next_turn()
            return
        count = token_holding(pieces, command.end - len(unread)) + 1
        self._append_student(generation, ids[:count], turn.request.forbid_commands)
        self._reject(parse_commands(text[: command.start]))
        rest = "".join(pieces[:count])[command.end - len(unread) :]
        self._reject(parse_commands(rest), valid="malformed")
        self._unread = ""
        n = command.requested_tokens
        self._turn = self._call(self.setup.limits.call_tokens or n, commanded=n)

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
        self._calls.append(
            Call(
                position=len(self._ids),
                requested=turn.requested,
                written=len(ids),
                duration_s=duration_s,
                ending=ending,
                commanded=turn.commanded,
                prompt_tokens=generation.prompt_tokens,
                cached_tokens=generation.cached_tokens,
            )
        )
        self._ids += ids
        self._stripped += ids
        self._stripped_to = len(self._ids)
        self._sources += [Source.TEACHER] * len(ids)
        self._logprobs += [0.0] * len(ids)
        self._versions += [-1] * len(ids)
        self._constrained += [False] * len(ids)
        if ending is CallEnding.END_OF_TEXT:
            self._turn = self._finished(FinishReason.TEACHER_END)
        else:
            self._turn = self._next_turn()

    def teacher_failed(self, reason: str, duration_s: float) -> None:
        """Record a call without an answer. It counts towards the call limit, and the student goes on alone."""
        turn = self._turn
        assert isinstance(turn, TeacherTurn), f"the teacher failed out of turn: {turn}"
        self._turn = self._failed(turn.requested, turn.commanded, reason, duration_s)

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
        return len(self._calls) < self._max_commands

    @property
    def _call_is_due(self) -> bool:
        return bool(self._planned) and self._planned[0].position <= self._student_tokens

    def _next_turn(self) -> Turn:
        if self._room == 0:
            return self._finished(FinishReason.LENGTH)
        if not self._call_is_due:
            return self._student_turn()
        self._reject(parse_commands(self._unread))
        self._unread = ""
        return self._call(self._planned.popleft().requested, commanded=0)

    def _student_turn(self) -> StudentTurn:
        until_planned = self._planned[0].position - self._student_tokens if self._planned else self._room
        return StudentTurn(
            GenerationRequest(
                prompt_ids=[*self.prompt.student_ids, *self._ids],
                max_tokens=min(self._room, until_planned),
                sampling=self.setup.student_sampling,
                stop_after_command=self._calls_left,
                forbid_commands=not self._calls_left,
                want_logprobs=self.setup.want_logprobs,
                seed=self._turn_seed(),
            )
        )

    def _turn_seed(self) -> int | None:
        self._turns += 1
        return None if self._seed is None else derived_seed(self._seed, self._turns)

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
        self._student_tokens += count
        self._ids += ids
        self._sources += [Source.STUDENT] * count
        self._logprobs += generation.logprobs[:count].tolist()
        self._versions += generation.versions[:count].tolist()
        self._constrained += self.setup.grammar.constrained(ids) if forbidden else [False] * count

    def _call(self, requested: int, commanded: int) -> Turn:
        self._stripped += self.setup.grammar.strip(self._ids[self._stripped_to :])
        self._stripped_to = len(self._ids)
        if self._room == 0:
            self._calls.append(Call(len(self._ids), requested, 0, 0.0, CallEnding.BUDGET, commanded))
            return self._finished(FinishReason.LENGTH)
        context = self.setup.handoff.teacher_context(self.prompt, self._stripped)
        context_room = self.setup.teacher_context_tokens - len(context)
        if context_room < 1:
            reason = (
                f"the teacher's context of {self.setup.teacher_context_tokens} tokens cannot hold "
                f"the {len(context)} so far and one more"
            )
            return self._failed(requested, commanded, reason, duration_s=0.0)
        request = GenerationRequest(
            prompt_ids=context,
            max_tokens=min(requested, self._room, context_room),
            sampling=self.setup.teacher_sampling,
            seed=self._turn_seed(),
        )
        return TeacherTurn(request, requested, commanded)

    def _failed(self, requested: int, commanded: int, reason: str, duration_s: float) -> Turn:
        self.failures.append(reason)
        self._calls.append(Call(len(self._ids), requested, 0, duration_s, CallEnding.FAILED, commanded))
        return self._next_turn()

    def _finished(self, reason: FinishReason) -> Finished:
        self._reject(parse_commands(self._unread))
        self._unread = ""
        return Finished(reason)


def _checked(generation: Generation, request: GenerationRequest, writer: str) -> list[int]:
    count = len(generation.token_ids)
    if not 0 < count <= request.max_tokens:
        raise EngineError(f"the {writer}'s engine wrote {count} tokens where 1 to {request.max_tokens} were asked for")
    ids: list[int] = generation.token_ids.tolist()
    return ids
