"""The phase of a run that an evaluation belongs to, and the evaluation that represents a policy in it."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.experiment.stage_names import BASE, CITER, FINAL, PolicyName
from pipelines.records.evaluations import Evaluation

BEFORE, WARM, TRAINED = "before training", "after warm-up", "after GRPO"
PHASES = (BEFORE, WARM, TRAINED)
"""in the order of a run"""


def phase_of(evaluation: Evaluation, warmed_up: bool = True) -> str:
    """Return the phase of an evaluation; `warmed_up` says whether the run had a warm-up.

    A final evaluation without GRPO steps belongs to the phase that the run has reached.
    """
    if evaluation.name in (BASE, CITER):  # CITER routes for the untrained student
        return BEFORE
    if evaluation.step > 0:
        return TRAINED
    return WARM if warmed_up else BEFORE


def evaluated_together(
    evaluations: Sequence[Evaluation],
    policy: PolicyName,
    kinds: Sequence[str],
    phase: str | None = None,
    *,
    warmed_up: bool = True,
) -> tuple[Evaluation | None, ...]:
    """Return one evaluation's result on each of `kinds`, None for a kind that it lacks. Evaluations are never mixed.

    Only evaluations of `phase` count (None: of any phase). The one with most of the kinds is taken, and the last of several.
    """
    by_name: dict[str, dict[str, Evaluation]] = {}
    for one in evaluations:
        if one.policy == policy and one.kind in kinds and phase in (None, phase_of(one, warmed_up)):
            by_name.setdefault(one.name, {})[one.kind] = one

    def rank(name: str) -> tuple[int, int, bool, int]:
        one = next(iter(by_name[name].values()))
        return len(by_name[name]), PHASES.index(phase_of(one, warmed_up)), name == FINAL, one.step

    chosen = by_name[max(by_name, key=rank)] if by_name else {}
    return tuple(chosen.get(kind) for kind in kinds)
