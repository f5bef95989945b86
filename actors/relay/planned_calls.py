"""Planned calls. They give a relayed answer's counterfactual: as many calls of the same lengths, at random places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from actors.relay.grammar import CommandGrammar
from actors.trajectory import Trajectory


@dataclass(frozen=True, slots=True, order=True)
class PlannedCall:
    """One planned call, which is made without a command."""

    position: int
    """student-written tokens before the call"""
    requested: int
    """tokens that the teacher is asked to write"""

    def __post_init__(self) -> None:
        if self.position < 0 or self.requested < 1:
            raise ValueError(f"a planned call needs a position of 0 or more and at least 1 token, not {self}")


Plan = tuple[PlannedCall, ...]


def random_plans(student_tokens: Sequence[int], requested: Sequence[Sequence[int]], seed: int) -> tuple[Plan, ...]:
    """Return one plan per answer. Each call comes before a student token that is drawn uniformly, without replacement.

    `student_tokens` are the `own_tokens` of the relayed answers, and `requested` the lengths of their calls. The lengths are
    assigned to the places at random too. An answer with fewer tokens than calls is treated as if it had as many. A plan
    depends only on the seed and on its row, not on other rows.
    """
    plans: list[Plan] = []
    for row, (tokens, lengths) in enumerate(zip(student_tokens, requested, strict=True)):
        places = Random(f"{seed}/{row}").sample(range(max(tokens, len(lengths))), len(lengths))
        plans.append(tuple(sorted(PlannedCall(place, length) for place, length in zip(places, lengths, strict=True))))
    return tuple(plans)


def own_tokens(trajectory: Trajectory, grammar: CommandGrammar) -> int:
    """Return how many tokens of an answer the student wrote, without commands."""
    starts = [0, *(call.position + call.written for call in trajectory.calls)]
    ends = [*(call.position for call in trajectory.calls), len(trajectory.token_ids)]
    return sum(len(grammar.strip(trajectory.token_ids[a:b].tolist())) for a, b in zip(starts, ends, strict=True))
