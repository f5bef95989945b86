"""Chain arithmetic: an endless supply of problems that both models, only the teacher, or no model can solve.

A problem is a start value and a chain of operations, computed from left to right modulo 100. Every number has two digits:
`47+35*07`. The solution goes step by step: `47+35=82;82*07=74;\\boxed{74}`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from pipelines.data.problem import Problem

MODULUS = 100
MULTIPLIERS = range(2, 7)
LENGTHS = (2, 3)
"""default numbers of operations in a problem"""
_EVALUATION_SHARE = 10
"""one problem in this many, chosen by its text, is never used for training of any model"""
_REPEATS = 10_000
"""if so many drawn problems in a row were all seen before, there are taken to be no others"""


class Kind(StrEnum):
    """Who can solve a problem."""

    KNOWN = "known"
    """only + and -: both models"""
    TEACHER_KNOWN = "teacher_known"
    """some *: only the teacher; the student has learned wrong products"""
    GUESSABLE = "guessable"
    """some >, the larger of two numbers: the teacher, and by chance the student, which takes either of the two"""
    UNKNOWABLE = "unknowable"
    """some ?, an operation with a random result: no model"""


_SPECIAL = {Kind.UNKNOWABLE: "?", Kind.TEACHER_KNOWN: "*", Kind.GUESSABLE: ">"}
"""the operator that makes a problem one of this kind; if a problem has several, the first of these counts"""


class Form(StrEnum):
    """How an operation is written, in the question and in each step."""

    PLAIN = "plain"
    """`47+35*07`, and steps `47+35=82;`"""
    POSTFIX = "postfix"
    """`47 35+ 07*`, and steps `47 35+=82;`"""

    def operation(self, operator: str, right: int) -> str:
        return f"{operator}{right:02d}" if self is Form.PLAIN else f" {right:02d}{operator}"


_QUESTION = {
    Form.PLAIN: (re.compile(r"\d\d([-+*>?]\d\d)+"), re.compile(r"(?P<operator>[-+*>?])(?P<right>\d\d)")),
    Form.POSTFIX: (re.compile(r"\d\d( \d\d[-+*>?])+"), re.compile(r" (?P<right>\d\d)(?P<operator>[-+*>?])")),
}


class Split(StrEnum):
    """Disjoint parts of the problem space."""

    TRAIN = "train"
    EVALUATION = "evaluation"


@dataclass(frozen=True, slots=True)
class Step:
    """One operation with a result."""

    left: int
    operator: str
    right: int
    result: int

    def written(self, form: Form) -> str:
        return f"{self.left:02d}{form.operation(self.operator, self.right)}={self.result:02d};"


@dataclass(frozen=True, slots=True)
class Chain:
    """A problem with its solution."""

    steps: tuple[Step, ...]
    form: Form = Form.PLAIN

    @property
    def question(self) -> str:
        operations = (self.form.operation(step.operator, step.right) for step in self.steps)
        return f"{self.steps[0].left:02d}" + "".join(operations)

    @property
    def solution(self) -> str:
        return solution_of(self.steps, self.form)

    @property
    def kind(self) -> Kind:
        operators = {step.operator for step in self.steps}
        return next((kind for kind, operator in _SPECIAL.items() if operator in operators), Kind.KNOWN)

    @property
    def split(self) -> Split:
        """The chain's split. It is the same in every form, so that no form of an evaluation problem is trained on."""
        plain = replace(self, form=Form.PLAIN).question
        return Split.EVALUATION if zlib.crc32(plain.encode()) % _EVALUATION_SHARE == 0 else Split.TRAIN

    def problem(self, kind_prefix: str = "") -> Problem:
        return Problem(self.question, gold=f"{self.steps[-1].result:02d}", kind=kind_prefix + self.kind)


def solution_of(steps: Sequence[Step], form: Form) -> str:
    """Return the steps and the answer as a model writes them."""
    return "".join(step.written(form) for step in steps) + f"\\boxed{{{steps[-1].result:02d}}}"


def apply(operator: str, left: int, right: int, random: Random) -> int:
    """Return the true result. The result of `?` is drawn from `random`. Raises `ValueError` on another operator."""
    match operator:
        case "+":
            return (left + right) % MODULUS
        case "-":
            return (left - right) % MODULUS
        case "*":
            return (left * right) % MODULUS
        case ">":
            return max(left, right)
        case "?":
            return random.randrange(MODULUS)
    raise ValueError(f"operator {operator!r} is none of + - * > ?")


def chain_of(question: str) -> Chain:
    """Return the chain of `question`. Its results of `?` are arbitrary. Raises `ValueError` if it is no chain."""
    for form, (whole, operation) in _QUESTION.items():
        if whole.fullmatch(question):
            operations = [(found["operator"], int(found["right"])) for found in operation.finditer(question, 2)]
            return _chain(int(question[:2]), operations, Random(0), form)
    raise ValueError(f"question {question!r} is no chain arithmetic: should be like 47+35*07 or 47 35+ 07*")


def chains(kind: Kind, split: Split, seed: int, lengths: Sequence[int] = LENGTHS) -> Iterator[Chain]:
    """Yield chains of one kind and split without end, in plain form; equal arguments give equal chains."""
    random = Random(f"{seed}/{kind}/{split}")
    while True:
        chain = _draw(kind, random.choice(lengths), random)
        if chain.split == split:
            yield chain


def problems(
    counts: Mapping[Kind, int],
    split: Split,
    seed: int,
    lengths: Sequence[int] = LENGTHS,
    form: Form = Form.PLAIN,
    kind_prefix: str = "",
) -> list[Problem]:
    """Return `counts[kind]` distinct problems of each kind, mixed in a seeded order. The order of `counts` has no effect.

    Raises `ValueError` if there are not that many.
    """
    drawn: dict[str, Problem] = {}
    for kind, count in ((kind, counts[kind]) for kind in Kind if kind in counts):
        wanted, repeats = len(drawn) + count, 0
        for chain in chains(kind, split, seed, lengths):
            if len(drawn) >= wanted:
                break
            repeats = repeats + 1 if chain.question in drawn else 0
            if repeats > _REPEATS:
                raise ValueError(
                    f"counts.{kind} = {count}: of lengths {[*lengths]} there are only "
                    f"{len(drawn) - wanted + count} problems for {split}"
                )
            drawn.setdefault(chain.question, replace(chain, form=form).problem(kind_prefix))
    mixed = list(drawn.values())
    Random(seed).shuffle(mixed)
    return mixed


def _draw(kind: Kind, length: int, random: Random) -> Chain:
    operators = [random.choice("+-") for _ in range(length)]
    if kind in _SPECIAL:
        count = random.randint(1, length)
        for place in random.sample(range(length), count):
            operators[place] = _SPECIAL[kind]
    start = random.randrange(MODULUS)
    operations = (
        (operator, random.choice(MULTIPLIERS) if operator == "*" else random.randrange(MODULUS))
        for operator in operators
    )
    return _chain(start, operations, random, Form.PLAIN)


def _chain(start: int, operations: Iterable[tuple[str, int]], random: Random, form: Form) -> Chain:
    value, steps = start, []
    for operator, right in operations:
        steps.append(Step(value, operator, right, apply(operator, value, right, random)))
        value = steps[-1].result
    return Chain(tuple(steps), form)
