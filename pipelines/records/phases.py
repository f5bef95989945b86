"""Which part of a run an evaluation is of, and which of a policy's evaluations speaks for it."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.records.evaluations import Evaluation

BEFORE, WARM, TRAINED = "before training", "after warm-up", "after GRPO"
PHASES = (BEFORE, WARM, TRAINED)
"""in their order"""
FINAL = "final"


def phase_of(evaluation: Evaluation, warmed_up: bool = True) -> str:
    """Return the phase of an evaluation; `warmed_up` says whether the run had a warm-up.

    A final evaluation after no GRPO step is of what the run had until then.
    """
    if evaluation.name in ("base", "citer"):  # CITER routes for the untrained student
        return BEFORE
    if evaluation.step > 0:
        return TRAINED
    return WARM if warmed_up else BEFORE


def evaluated_together(
    evaluations: Sequence[Evaluation],
    policy: str,
    kinds: Sequence[str],
    phase: str | None = None,
    *,
    warmed_up: bool = True,
) -> tuple[Evaluation | None, ...]:
    """One evaluation's result on each of `kinds`, None where it lacks one: never a mixture of evaluations.

    Of the evaluations in the phase (in any, if None), that with most of the kinds counts; among those, the last.
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
