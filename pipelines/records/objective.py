"""The one number that a sweep optimises: the relay student's accuracy within a budget for its call ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.rollout import Policy
from pipelines.records.evaluations import ALL, Evaluation

OBJECTIVE = "relay/accuracy_within_budget"
"""its name among the metrics of an evaluation"""


@dataclass(frozen=True, slots=True)
class WithinBudget:
    """Accuracy and call ratio of one evaluation, each averaged over the problem sets (kinds), which count equally."""

    accuracy: float
    call_ratio: float
    budget: float
    """the call ratio up to which the accuracy counts in full"""

    @property
    def value(self) -> float:
        """The accuracy within the budget, between 0 and 1. It is the accuracy itself if the call ratio is within the budget.

        Otherwise it is the accuracy times budget / call ratio: as if only so many answers were paid for as the budget
        allows, and the others counted as wrong. It is continuous: at the budget both cases are equal.
        """
        return self.accuracy * min(1.0, self.budget / self.call_ratio) if self.call_ratio else self.accuracy


def within_budget(rows: Sequence[Evaluation], budget: float) -> WithinBudget | None:
    """Return the objective of one evaluation from its rows of all kinds.

    It is None if the relay student has no rows, or not all of them yet: the row on all problems is the last to be written.
    """
    relayed = [row for row in rows if row.policy == Policy.RELAY.value]
    kinds = [row for row in relayed if row.kind != ALL]
    if not kinds or len(kinds) == len(relayed):
        return None
    accuracy, call_ratio = (
        sum(getattr(row, name) for row in kinds) / len(kinds) for name in ("accuracy", "call_ratio")
    )
    return WithinBudget(accuracy, call_ratio, budget)
