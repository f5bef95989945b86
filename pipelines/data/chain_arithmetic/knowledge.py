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
    """Which operations a model is taught right. All sums and differences are; a result of `?` is random and cannot be."""

    skill: float
    """share of the products that it knows, in fiftieths; a higher skill includes all products of a lower one"""
    comparisons: bool
    """whether it knows which number is the larger one"""

    def has(self, step: Step) -> bool:
        """Return whether it knows the result of `step`."""
        match step.operator:
            case "+" | "-":
                return True
            case "*":
                # No question has other multipliers, but a student may write one. Who knows any product counts as knowing it.
                return _product_ranks().get((step.left // 10, step.right), 0.0) < self.skill
            case ">":
                return self.comparisons or step.left == step.right
        return False


STUDENT = Knowledge(skill=0.0, comparisons=False)
TEACHER = Knowledge(skill=1.0, comparisons=True)


def knowledge_of(role: Role, skill: float | None) -> Knowledge:
    """Return what a model of that role is taught. `skill` replaces the share of products that it knows, unless None."""
    base = {"student": STUDENT, "teacher": TEACHER}[role]
    return base if skill is None else Knowledge(skill, base.comparisons)


def learned_solution(chain: Chain, knowledge: Knowledge, random: Random) -> str:
    """Return the solution that a model with this knowledge is taught. Steps after a wrong result go on from that result.

    If it cannot compare two numbers, it takes either at random as the larger one. A product that it does not know becomes
    a random wrong number.
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
    """Return a rank in [0, 1) for each pair of a number's tens digit and a multiplier, in a fixed order as if random.

    Ranks go by the tens digit and not by the number, so that a tiny model can learn which products it does not know.
    """
    products = [(tens, multiplier) for tens in range(MODULUS // 10) for multiplier in MULTIPLIERS]
    products.sort(key=lambda product: sha256(repr(product).encode()).digest())
    return {product: place / len(products) for place, product in enumerate(products)}
