"""Whether calls in chain arithmetic are where the student needs them: right before a result that it does not know."""

from __future__ import annotations

import re
from dataclasses import dataclass

from actors.relay.grammar import without_commands
from actors.tiny_models import CommandTokens
from pipelines.data.chain_arithmetic.knowledge import STUDENT, TEACHER, Knowledge
from pipelines.data.chain_arithmetic.oracle import RESULT_TOKENS
from pipelines.data.chain_arithmetic.task import Step, chain_of
from pipelines.records.answers import AnswerTable

_OPERATION = r"(\d\d)(?:([-+*>?])(\d\d)| (\d\d)([-+*>?]))="
_BEFORE_RESULT = re.compile(_OPERATION + r"\Z")
_RESULT = re.compile(_OPERATION + r"(?P<result>\d\d)")
_TOKENS: dict[CommandTokens, re.Pattern[str]] = {
    "text": re.compile(r"\\boxed\{|</|call|[\s\S]"),
    "special": re.compile(r"</?call>|\\boxed\{|</|call|[\s\S]"),
}


@dataclass(frozen=True, slots=True)
class CallPlaces:
    """Counts over all answers to chain arithmetic."""

    calls: int
    """executed calls, failed ones included"""
    at_need: int
    """calls right before the result of an operation that only the teacher knows"""
    exact: int
    """calls at need that brought the two digits of the result and no more"""
    covering: int
    """calls elsewhere whose text holds a whole result that only the teacher knows"""
    needed: int
    """results of the questions that only the teacher knows"""
    written_by_teacher: int
    """results that only the teacher knows and that it wrote, in all calls"""

    @property
    def precision(self) -> float | None:
        """Share of the calls that are at need; None without calls."""
        return self.at_need / self.calls if self.calls else None

    @property
    def recall(self) -> float | None:
        """Results that the teacher wrote / needed results; None if none was needed. Above 1 if steps are retried often."""
        return self.written_by_teacher / self.needed if self.needed else None


def split_tokens(text: str, command_tokens: CommandTokens) -> list[str]:
    """Return the tokens of an output, as the tiny models' tokenizer splits it."""
    return _TOKENS[command_tokens].findall(text)


def call_places(
    table: AnswerTable, command_tokens: CommandTokens, student: Knowledge = STUDENT, teacher: Knowledge = TEACHER
) -> CallPlaces:
    """Return where the calls of a table are. `command_tokens` is the setting of the student's vocabulary.

    What only the teacher knows follows from what both were taught.
    """

    def only_teacher(step: Step) -> bool:
        return teacher.has(step) and not student.has(step)

    calls = at_need = exact = covering = written_by_teacher = 0
    rows = zip(table.text, table.call_positions, table.call_written, strict=True)
    for text, positions, lengths in rows:
        pieces = split_tokens(str(text), command_tokens)
        for position, written in zip(positions, lengths, strict=True):
            before = without_commands("".join(pieces[:position]))
            after = before + "".join(pieces[position : position + written])
            asked = _BEFORE_RESULT.search(before)
            needed = asked is not None and only_teacher(_step(asked))
            results = sum(
                found.start("result") >= len(before) and only_teacher(_step(found)) for found in _RESULT.finditer(after)
            )
            calls += 1
            at_need += needed
            exact += needed and written == RESULT_TOKENS
            covering += not needed and results > 0
            written_by_teacher += results
    return CallPlaces(
        calls=calls,
        at_need=at_need,
        exact=exact,
        covering=covering,
        needed=sum(only_teacher(step) for question in map(str, table.question) for step in chain_of(question).steps),
        written_by_teacher=written_by_teacher,
    )


def _step(found: re.Match[str]) -> Step:
    """Return the operation that was found, in either form. Its result is set to 0, since knowledge does not depend on it."""
    left, operator, right, right_before, operator_after = found.groups()[:5]
    return Step(int(left), operator or operator_after, int(right or right_before), 0)
