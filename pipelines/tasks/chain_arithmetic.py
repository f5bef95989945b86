"""Chain arithmetic: problems that both models, only the teacher, or nobody can solve, and the oracle policy for them.

A problem is a start value and a chain of operations, taken from left to right modulo 100, every number written with
two digits: `47+35*07`. Its solution goes step by step: `47+35=82;82*07=74;\\boxed{74}`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from pipelines.problems import Problem

MODULUS = 100
STEP_TOKENS = len("47+35=82;")
MULTIPLIERS_END = 7
RESULT_TOKENS = len("82")
ENDING_TOKENS = len(("\\boxed{", "8", "2", "}", "<|end|>"))
_EVALUATION_SHARE = 10
"""one problem in this many, chosen by its text, is never used for training of any model"""


class Kind(StrEnum):
    """Who can solve a problem."""

    KNOWN = "known"
    """only + and -: both models"""
    TEACHER_KNOWN = "teacher_known"
    """some *: only the teacher; the student has learned wrong products"""
    UNKNOWABLE = "unknowable"
    """some ?, an operation with a random result: nobody"""


class Split(StrEnum):
    """Disjoint halves of the problem space."""

    TRAIN = "train"
    EVALUATION = "evaluation"


@dataclass(frozen=True, slots=True)
class Step:
    """One operation with its true result."""

    left: int
    operator: str
    right: int
    result: int

    def written(self, result: int) -> str:
        return f"{self.left:02d}{self.operator}{self.right:02d}={result:02d};"


@dataclass(frozen=True, slots=True)
class Chain:
    """A problem with its solution."""

    steps: tuple[Step, ...]

    @property
    def question(self) -> str:
        return f"{self.steps[0].left:02d}" + "".join(f"{step.operator}{step.right:02d}" for step in self.steps)

    @property
    def solution(self) -> str:
        return "".join(step.written(step.result) for step in self.steps) + f"\\boxed{{{self.steps[-1].result:02d}}}"

    @property
    def kind(self) -> Kind:
        operators = {step.operator for step in self.steps}
        if "?" in operators:
            return Kind.UNKNOWABLE
        return Kind.TEACHER_KNOWN if "*" in operators else Kind.KNOWN

    @property
    def split(self) -> Split:
        return Split.EVALUATION if zlib.crc32(self.question.encode()) % _EVALUATION_SHARE == 0 else Split.TRAIN

    def problem(self) -> Problem:
        return Problem(question=self.question, gold=f"{self.steps[-1].result:02d}", kind=self.kind)


@dataclass(frozen=True, slots=True)
class OracleCost:
    """What the best possible policy writes for some problems, and how many it solves."""

    accuracy: float
    """with a teacher that is always right; a result that nobody can know is never guessed"""
    output_tokens: int
    teacher_tokens: int
    calls: int

    @property
    def call_ratio(self) -> float:
        return self.teacher_tokens / self.output_tokens


def apply(operator: str, left: int, right: int, random: Random) -> int:
    """Return the true result; that of `?` is drawn from `random`."""
    match operator:
        case "+":
            return (left + right) % MODULUS
        case "-":
            return (left - right) % MODULUS
        case "*":
            return (left * right) % MODULUS
        case "?":
            return random.randrange(MODULUS)
    raise ValueError(f"operator {operator!r} is none of + - * ?")


def chains(kind: Kind, split: Split, seed: int, lengths: Sequence[int] = (2, 3)) -> Iterator[Chain]:
    """Yield chains of one kind and split without end; equal arguments give equal chains."""
    random = Random(f"{seed}/{kind}/{split}")
    while True:
        chain = _draw(kind, random.choice(lengths), random)
        if chain.split == split:
            yield chain


def problems(counts: dict[Kind, int], split: Split, seed: int, lengths: Sequence[int] = (2, 3)) -> list[Problem]:
    """Return `counts[kind]` distinct problems of each kind, mixed in a seeded order."""
    drawn: dict[str, Problem] = {}
    for kind, count in counts.items():
        wanted = len(drawn) + count
        for chain in chains(kind, split, seed, lengths):
            if len(drawn) >= wanted:
                break
            drawn.setdefault(chain.question, chain.problem())
    mixed = list(drawn.values())
    Random(seed).shuffle(mixed)
    return mixed


def known_to_student(chain: Chain, random: Random) -> str:
    """Return the solution as the student learned it: every product is wrong, and the rest follows from it."""
    written, value = "", chain.steps[0].left
    for step in chain.steps:
        own = Step(value, step.operator, step.right, apply(step.operator, value, step.right, random))
        value = own.result
        if step.operator == "*":
            value = (own.result + random.randrange(1, MODULUS)) % MODULUS
        written += own.written(value)
    return written + f"\\boxed{{{value:02d}}}"


def known_to_teacher(chain: Chain, random: Random) -> str:
    """Return the solution as the teacher learned it: right, but for operations that nobody knows."""
    return chain.solution


def oracle_cost(questions: Sequence[str], command_tokens: int) -> OracleCost:
    """Return the cost of calling right before each unknown result, for exactly its tokens.

    `command_tokens` is the length of a command with a one-digit n in the student's vocabulary. Results that nobody
    can know are not worth a call.
    """
    steps = sum(sum(question.count(operator) for operator in "+-*?") for question in questions)
    calls = sum(question.count("*") for question in questions)
    return OracleCost(
        accuracy=sum("?" not in question for question in questions) / len(questions),
        output_tokens=steps * STEP_TOKENS + calls * command_tokens + len(questions) * ENDING_TOKENS,
        teacher_tokens=calls * RESULT_TOKENS,
        calls=calls,
    )


def _draw(kind: Kind, length: int, random: Random) -> Chain:
    operators = [random.choice("+-") for _ in range(length)]
    special = {Kind.TEACHER_KNOWN: "*", Kind.UNKNOWABLE: "?"}.get(kind)
    if special:
        count = random.randint(1, length)
        for place in random.sample(range(length), count):
            operators[place] = special
    value, steps = random.randrange(MODULUS), []
    for operator in operators:
        right = random.randrange(2, MULTIPLIERS_END) if operator == "*" else random.randrange(MODULUS)
        result = apply(operator, value, right, random)
        steps.append(Step(value, operator, right, result))
        value = result
    return Chain(tuple(steps))
