"""One relayed sequence as a state machine. It says who writes next and takes the result; others drive the engines."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from actors.engines.base import Generation, GenerationRequest, StopReason
from actors.relay.budget import Budget
from actors.relay.grammar import (
    CALL_CLOSE,
    CALL_START,
    Command,
    CommandGrammar,
    CommandKind,
    may_begin_command,
    parse_commands,
    token_holding,
)
from actors.relay.handoff import Handoff, RelayPrompt
from actors.relay.output import Output
from actors.relay.planned_calls import Plan
from actors.relay.seeds import derived_seed
from actors.relay.turns import Finished, StudentTurn, TeacherTurn, Turn, checked_ids
from actors.relay.usage import Usage
from actors.settings import RelayLimits, SamplingSettings
from actors.trajectory import Call, CallEnding, FinishReason, RejectedCommands, Trajectory


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
    """most tokens of prompt and output together that the student's engine takes"""
    teacher_context_tokens: int
    want_logprobs: bool = False
    """whether the log-probs of the student's tokens are recorded"""
    want_teacher_logprobs: bool = False
    """whether the teacher's tokens are asked for with log-probs; only who follows the turns sees them"""


NO_BUDGET = Budget()


class RelaySequence:
    """Relay decoding of one answer (paper section 2.1), limits included.

    The student must write a whole command by itself, with no call in between. If an engine wrote text past an executable
    command, that text is discarded. A command with no output tokens left becomes a call of 0 tokens that ends with
    `CallEnding.BUDGET`.

    The `budget` limits the answer further. A call that it leaves no token for is one of 0 tokens, and the student goes on.
    Commands are forbidden once no call can be allowed any more. When the student's next token cannot be paid, the answer ends
    as at its greatest length.

    Where commands are forbidden, the finished text never has `<call` between two calls. As soon as the student writes it, the
    tokens from its `<` on are taken back. At that place the student draws one token again, and then goes on freely. That
    draw excludes every token with which a forbidden command of this answer has begun. The attempt leaves no trace in the
    answer.

    With a plan, commands are forbidden, and the planned calls are made instead. Each call is made as soon as the student has
    written `position` tokens of its own. Calls planned after the end of the answer are not made. The plan alone
    sets the number of calls: `max_calls` limits commands only.

    Raises ValueError if the prompt leaves no room for output.
    """

    def __init__(
        self,
        prompt: RelayPrompt,
        setup: RelaySetup,
        plan: Plan | None = None,
        seed: int | None = None,
        budget: Budget = NO_BUDGET,
    ) -> None:
        """Start a sequence. `seed` determines the random numbers of all turns; None leaves them to the engines."""
        room = setup.student_context_tokens - len(prompt.student_ids)
        if room < 1:
            raise ValueError(
                f"the prompt has {len(prompt.student_ids)} tokens, and the student's context of "
                f"{setup.student_context_tokens} must hold it and at least one more: shorten the prompt or raise max_model_len"
            )
        self.prompt = prompt
        self.setup = setup
        self.failures: list[str] = []
        """why calls failed, in order"""
        self.calls: list[Call] = []
        """calls so far"""
        self.output = Output(setup.grammar)
        """tokens of the turns so far"""
        self.usage = Usage.none()
        """what the turns so far took from both engines"""
        self._budget = budget
        self._max_commands = setup.limits.max_calls if plan is None else 0
        self._planned = deque(sorted(plan or ()))
        self._seed = seed
        self._turns = 0
        self.needs_teacher = self._max_commands > 0 or bool(self._planned)
        """whether there can be a call"""
        self._longest = min(setup.limits.max_new_tokens, room)
        self._rejected = dict.fromkeys(("zero", "malformed", "unterminated", "over_limit"), 0)
        self._unread = ""
        """the student's text since the last call, as far as its commands are not counted yet.

        While the student may call, it begins after the last closing tag, because a later opening tag may still be closed.
        While commands are forbidden, it is all text since the last call, so that a command can be taken back.
        """
        self._beginnings: dict[int, None] = {}
        """first tokens of the forbidden commands so far, each once, in order"""
        self._redrawn: set[int] = set()
        """output positions where a forbidden command was taken back, if the tokens before it are still the same"""
        self._turn: Turn = self._next_turn()

    def next_turn(self) -> Turn:
        """Return who writes next. The turn stays the same until its result is reported."""
        return self._turn

    def student_wrote(self, generation: Generation) -> None:
        """Take the student's turn. Raises `EngineError` if the engine wrote too many tokens, none, or an excluded one."""
        turn = self._turn
        assert isinstance(turn, StudentTurn), f"the student wrote out of turn: {turn}"
        ids = checked_ids(generation, turn.request, "student")
        self.usage.student.add(generation)
        pieces = self.setup.grammar.pieces(ids)
        unread = self._unread
        text = unread + "".join(pieces)
        redrawn = len(self.output) in self._redrawn
        if not self._calls_left:
            self.output.by_student(generation, ids, redrawn)
            self._unread = text
            self._turn = self._student_turn() if self._take_back_command() else self._after(generation, turn.request)
            return
        command = next((command for command in parse_commands(text) if command.kind is CommandKind.VALID), None)
        if command is None:
            self.output.by_student(generation, ids, redrawn)
            self._read(text)
            self._turn = self._after(generation, turn.request)
            return
        count = token_holding(pieces, command.end - len(unread)) + 1
        self.output.by_student(generation, ids[:count], redrawn)
        self._reject(parse_commands(text[: command.start]))
        rest = "".join(pieces[:count])[command.end - len(unread) :]
        self._reject(parse_commands(rest))
        self._unread = ""
        n = command.requested_tokens
        self._turn = self._call(self.setup.limits.call_tokens or n, commanded=n)

    def teacher_wrote(self, generation: Generation, duration_s: float) -> None:
        """Take the teacher's turn. Raises `EngineError` if the engine wrote too many tokens or none.

        The teacher's end-of-text token is replaced by the student's, and counts as written by the teacher.
        """
        turn = self._turn
        assert isinstance(turn, TeacherTurn), f"the teacher wrote out of turn: {turn}"
        written = checked_ids(generation, turn.request, "teacher")
        self.usage.teacher.add(generation)
        ended = generation.stop is StopReason.END_OF_TEXT
        ids = self.setup.handoff.student_ids(written[:-1] if ended else written)
        if ended:
            ids.append(self.setup.grammar.tokenizer.eos_token_id)
        cut = len(ids) > turn.most
        ids = ids[: turn.most]
        if ended and not cut:
            ending = CallEnding.END_OF_TEXT
        elif cut or turn.request.max_tokens < turn.requested:
            ending = CallEnding.BUDGET
        else:
            ending = CallEnding.COMPLETED
        self.calls.append(
            Call(
                position=len(self.output),
                requested=turn.requested,
                written=len(ids),
                duration_s=duration_s,
                ending=ending,
                commanded=turn.commanded,
                prompt_tokens=generation.prompt_tokens,
                cached_tokens=generation.cached_tokens,
            )
        )
        self.output.by_teacher(ids)
        if ending is CallEnding.END_OF_TEXT:
            self._turn = self._finished(FinishReason.TEACHER_END)
        else:
            self._turn = self._next_turn()

    def teacher_failed(self, reason: str, duration_s: float, arrived: Sequence[int] = ()) -> None:
        """Record a failed call. It counts towards the call limit, and the student goes on.

        `arrived` are the tokens, in the teacher's vocabulary, that a follower saw before the failure. They stay in the answer.
        """
        turn = self._turn
        assert isinstance(turn, TeacherTurn), f"the teacher failed out of turn: {turn}"
        prompt_tokens = len(turn.request.prompt_ids)
        self.usage.teacher.add_turn(prompt_tokens, 0, len(arrived))
        eos = self.setup.grammar.tokenizer.eos_token_id
        ids = [token for token in self.setup.handoff.student_ids(arrived) if token != eos][: turn.most]
        position = len(self.output)
        self.output.by_teacher(ids)
        self.failures.append(reason)
        call = Call(position, turn.requested, len(ids), duration_s, CallEnding.FAILED, turn.commanded)
        self.calls.append(replace(call, prompt_tokens=prompt_tokens) if ids else call)
        self._turn = self._next_turn()

    def trajectory(self) -> Trajectory:
        """Return the finished trajectory."""
        assert isinstance(self._turn, Finished), f"the sequence is not finished: {self._turn}"
        return self.output.trajectory(self.prompt, self.calls, self.rejected, self._turn.reason)

    @property
    def rejected(self) -> RejectedCommands:
        """Commands so far that were not executed."""
        return RejectedCommands(**self._rejected)

    @property
    def room(self) -> int:
        """Output tokens that the answer may still have, in the student's vocabulary."""
        return self._longest - len(self.output)

    @property
    def turn_room(self) -> int:
        """Output tokens that the turn under way may add, in the student's vocabulary."""
        return self._turn.most if isinstance(self._turn, TeacherTurn) else self.room

    @property
    def _calls_left(self) -> bool:
        return len(self.calls) < self._max_commands and not self._budget.is_spent(self.output.teacher_tokens)

    @property
    def _call_is_due(self) -> bool:
        return bool(self._planned) and self._planned[0].position <= self.output.student_tokens

    def _next_turn(self) -> Turn:
        if self.room == 0:
            return self._finished(FinishReason.LENGTH)
        if not self._call_is_due:
            return self._student_turn()
        self._reject(parse_commands(self._unread))
        self._unread = ""
        return self._call(self._planned.popleft().requested, commanded=0)

    def _after(self, generation: Generation, request: GenerationRequest) -> Turn:
        """Return who writes next, after a student's turn without an executable command."""
        if generation.stop is StopReason.END_OF_TEXT:
            return self._finished(FinishReason.STUDENT_END)
        if generation.stop is StopReason.LENGTH and len(generation.token_ids) < request.max_tokens:
            return self._finished(FinishReason.LENGTH)
        return self._next_turn()

    def _student_turn(self) -> Turn:
        prompt_ids = [*self.prompt.student_ids, *self.output.ids]
        affordable = self._budget.student_tokens(self.usage, len(prompt_ids))
        if affordable == 0:
            return self._finished(FinishReason.LENGTH)
        until_planned = self._planned[0].position - self.output.student_tokens if self._planned else self.room
        excluded = self._beginnings if len(self.output) in self._redrawn else ()
        by_one = bool(excluded) or (not self._calls_left and may_begin_command(self._unread))
        return StudentTurn(
            GenerationRequest(
                prompt_ids=prompt_ids,
                max_tokens=1 if by_one else min(self.room, until_planned, affordable or self.room),
                sampling=self.setup.student_sampling,
                stop_text=CALL_CLOSE if self._calls_left else CALL_START,
                excluded=() if self._calls_left else (*self.setup.grammar.banned, *excluded),
                want_logprobs=self.setup.want_logprobs,
                seed=self._turn_seed(),
            )
        )

    def _turn_seed(self) -> int | None:
        self._turns += 1
        return None if self._seed is None else derived_seed(self._seed, self._turns)

    def _take_back_command(self) -> bool:
        """If the text begins a forbidden command, take its tokens back and mark its first place to be drawn again.

        Returns whether it did.
        """
        start = self._unread.find(CALL_START)
        if start < 0:
            return False
        self._rejected["over_limit"] += 1
        while len(self._unread) > start:
            token = self.output.take_back()
            (piece,) = self.setup.grammar.pieces([token])
            self._unread = self._unread[: len(self._unread) - len(piece)]
        self._beginnings[token] = None
        place = len(self.output)
        # Marks at later places no longer apply, because the tokens before them are gone.
        self._redrawn = {position for position in self._redrawn if position < place} | {place}
        return True

    def _read(self, text: str) -> None:
        """Count the commands up to the last closing tag; keep the text after it for the next turn."""
        resolved = text.rfind(CALL_CLOSE) + len(CALL_CLOSE) if CALL_CLOSE in text else 0
        self._reject(parse_commands(text[:resolved]))
        self._unread = text[resolved:]

    def _reject(self, commands: list[Command]) -> None:
        names = {
            CommandKind.VALID: "malformed",  # a second command inside the token that ends the first
            CommandKind.ZERO: "zero",
            CommandKind.MALFORMED: "malformed",
            CommandKind.UNTERMINATED: "unterminated",
        }
        for command in commands:
            self._rejected[names[command.kind]] += 1

    def _call(self, requested: int, commanded: int) -> Turn:
        if self.room == 0:
            self.calls.append(Call(len(self.output), requested, 0, 0.0, CallEnding.BUDGET, commanded))
            return self._finished(FinishReason.LENGTH)
        context = self.setup.handoff.teacher_context(self.prompt, self.output.without_commands())
        context_room = self.setup.teacher_context_tokens - len(context)
        if context_room < 1:
            reason = (
                f"the teacher's context of {self.setup.teacher_context_tokens} tokens cannot hold "
                f"the {len(context)} tokens so far and one more"
            )
            self.failures.append(reason)
            self.calls.append(Call(len(self.output), requested, 0, 0.0, CallEnding.FAILED, commanded))
            return self._next_turn()
        allowed = self._budget.call_tokens(self.usage, self.output.teacher_tokens, len(self.output), len(context))
        if allowed == 0:
            self.calls.append(Call(len(self.output), requested, 0, 0.0, CallEnding.BUDGET, commanded))
            return self._next_turn()
        request = GenerationRequest(
            prompt_ids=context,
            max_tokens=min(requested, self.room, context_room, allowed or requested),
            sampling=self.setup.teacher_sampling,
            want_logprobs=self.setup.want_teacher_logprobs,
            seed=self._turn_seed(),
        )
        most = self._budget.output_tokens(self.output.teacher_tokens, len(self.output))
        return TeacherTurn(request, requested, commanded, self.room if most is None else min(self.room, most))

    def _finished(self, reason: FinishReason) -> Finished:
        self._reject(parse_commands(self._unread))
        self._unread = ""
        return Finished(reason)
