"""What a model is taught of chain arithmetic, and the solutions it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from random import Random
from typing import Literal

from pipelines.data.chain_arithmetic.task import MODULUS, MULTIPLIERS, Chain, Step, apply, solution_of

Role = Literal["student", "teacher"]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Which operations a model is taught right; sums and differences all are, results of `?` cannot be."""

    skill: float
    """share of the products, in fiftieths; who knows more knows all that others know"""
    comparisons: bool
    """whether it knows which number is the larger one"""

    def has(self, step: Step) -> bool:
        """Return whether it knows the result of `step`."""
        match step.operator:
            case "+" | "-":
                return True
            case "*":
                # No question has other multipliers, but a student may write one: who knows any product counts as knowing it.
                return _product_ranks().get((step.left // 10, step.right), 0.0) < self.skill
            case ">":
                return self.comparisons or step.left == step.right
        return False


STUDENT = Knowledge(skill=0.0, comparisons=False)
TEACHER = Knowledge(skill=1.0, comparisons=True)


def knowledge_of(role: Role, skill: float | None) -> Knowledge:
    """Return what a model of that role is taught, with another share of the products if `skill` says so."""
    base = {"student": STUDENT, "teacher": TEACHER}[role]
    return base if skill is None else Knowledge(skill, base.comparisons)


def learned_solution(chain: Chain, knowledge: Knowledge, random: Random) -> str:
    """Return the solution as one with that knowledge learns it: where it is wrong, the rest follows from it.

    Of two numbers that it cannot compare it takes either as the larger one; products that it does not know are
    any wrong number.
    """
    if knowledge == TEACHER:
        return chain.solution
    steps, value = [], chain.steps[0].left
    for step in chain.steps:
        own = Step(value, step.operator, step.right, apply(step.operator, value, step.right, random))
        value = own.result
        if not knowledge.has(own):
            match own.operator:
                case "*":
                    value = (own.result + random.randrange(1, MODULUS)) % MODULUS
                case ">":
                    value = random.choice((own.left, own.right))
        steps.append(Step(own.left, own.operator, own.right, value))
    return solution_of(steps, chain.form)


@cache
def _product_ranks() -> dict[tuple[int, int], float]:
    """Return a place in [0, 1) for each tens digit of a number and multiplier, in an order unrelated to either.

    By tens and not by number: a tiny model has to learn what it is not to know.
    """
    products = [(tens, multiplier) for tens in range(MODULUS // 10) for multiplier in MULTIPLIERS]
    products.sort(key=lambda product: sha256(repr(product).encode()).digest())
    return {product: place / len(products) for place, product in enumerate(products)}
