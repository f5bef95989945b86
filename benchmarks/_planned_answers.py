"""Plans of answers: who writes how many tokens in each turn. With them, all schedules of a benchmark decode the same turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import exp, log
from random import Random

from actors.engines.base import Generation
from actors.relay.grammar import CALL_CLOSE, CommandGrammar
from actors.relay.handoff import IdHandoff, RelayPrompt
from actors.relay.planned_calls import PlannedCall
from actors.relay.sequence import RelaySequence, RelaySetup
from actors.relay.turns import StudentTurn, Turn
from actors.settings import RelayLimits, SamplingSettings

CALL_SHARES = (20, 30, 20, 15, 10, 5)
"""percentages of the answers with 0, 1, … 5 calls"""


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """The turns of one answer. The student has the first turn; then teacher and student alternate."""

    student: tuple[int, ...]
    """tokens of each of the student's turns; there is one more turn than calls"""
    teacher: tuple[int, ...]
    """tokens of each call"""

    @property
    def tokens(self) -> int:
        """Length of the answer in tokens."""
        return sum(self.student) + sum(self.teacher)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Log-normal distribution of the lengths of turns, in tokens. Half are longer than the median; a few are much longer."""

    student_median: int
    teacher_median: int
    longest: int
    sigma: float = 1.0
    prompt: int = 24

    def draw(self, random: Random) -> AnswerPlan:
        """Return the turns of one answer, with 0 to 5 calls."""
        (calls,) = random.choices(range(len(CALL_SHARES)), CALL_SHARES)
        student = tuple(self._turn(random, self.student_median) for _ in range(calls + 1))
        return AnswerPlan(student, tuple(self._turn(random, self.teacher_median) for _ in range(calls)))

    @property
    def context(self) -> int:
        """Tokens of context that are enough for the prompt and any answer."""
        return self.prompt + 2 * len(CALL_SHARES) * self.longest

    def _turn(self, random: Random, median: int) -> int:
        return min(max(round(exp(random.gauss(log(median), self.sigma))), 1), self.longest)


class PlannedSequence(RelaySequence):
    """An answer with the turns of a plan, whatever tokens the models write.

    The student's engine looks for commands, as in relay decoding. The sequence counts the tokens that the student's engine had
    to prefill after each call.
    """

    def __init__(self, prompt: RelayPrompt, setup: RelaySetup, plan: AnswerPlan) -> None:
        self.back_prompt_tokens = 0
        """prompt tokens that the student's engine was given after calls"""
        self.back_cached_tokens = 0
        """how many of `back_prompt_tokens` its prefix cache held"""
        places = accumulate(plan.student[:-1])
        calls = tuple(PlannedCall(place, tokens) for place, tokens in zip(places, plan.teacher, strict=True))
        limits = setup.limits.model_copy(update={"max_new_tokens": plan.tokens})
        super().__init__(prompt, replace(setup, limits=limits), calls)

    def student_wrote(self, generation: Generation) -> None:
        if len(self.output):
            self.back_prompt_tokens += generation.prompt_tokens
            self.back_cached_tokens += generation.cached_tokens
        super().student_wrote(generation)

    def _student_turn(self) -> Turn:
        turn = super()._student_turn()
        if not isinstance(turn, StudentTurn):
            return turn
        return StudentTurn(replace(turn.request, stop_text=CALL_CLOSE, excluded=()))

    def _take_back_command(self) -> bool:
        return False


def sequences(
    plans: Sequence[AnswerPlan], grammar: CommandGrammar, lengths: Lengths, ids: range, seed: int
) -> list[PlannedSequence]:
    """Return a sequence for each plan, with prompts of random `ids`. Each seed gives other prompts, so that none is cached."""
    random = Random(seed)
    setup = RelaySetup(
        grammar=grammar,
        handoff=IdHandoff(),
        limits=RelayLimits(),
        student_sampling=SamplingSettings(),
        teacher_sampling=SamplingSettings(),
        student_context_tokens=lengths.context,
        teacher_context_tokens=lengths.context,
        want_logprobs=True,
    )
    prompts = [tuple(random.choices(ids, k=lengths.prompt)) for _ in plans]
    return [PlannedSequence(RelayPrompt(p, p), setup, plan) for p, plan in zip(prompts, plans, strict=True)]
