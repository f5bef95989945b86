"""The results that a model card shows: each kind of problem, before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.records.evaluations import Evaluation
from pipelines.records.phases import BEFORE, TRAINED, WARM, evaluated_together
from pipelines.report.kinds import kind_label
from pipelines.report.run.reading import RunRecords


@dataclass(frozen=True, slots=True)
class KindResults:
    """The evaluations of one kind of problem, or of one benchmark. None where there is none."""

    kind: str
    label: str
    base: Evaluation | None
    """the base student"""
    teacher: Evaluation | None
    alone: Evaluation | None
    """the trained student, without a teacher"""
    relay: Evaluation | None
    """the trained student with its teacher"""

    @property
    def problems(self) -> int:
        """Problems that were asked."""
        return max((one.problems for one in (self.relay, self.alone, self.base) if one is not None), default=0)


def results_by_kind(run: RunRecords) -> list[KindResults]:
    """Return the results of all kinds that were evaluated. Those after training are of the run's last training stage."""
    trained = TRAINED if any(one.step > 0 for one in run.evaluations) else WARM

    def found(policy: str, phase: str | None) -> Sequence[Evaluation | None]:
        return evaluated_together(run.evaluations, policy, run.kinds, phase, warmed_up=run.warmed_up)

    columns = zip(
        run.kinds,
        found("student", BEFORE),
        found("teacher", None),
        found("student", trained),
        found("relay", trained),
        strict=True,
    )
    return [KindResults(kind, kind_label(kind), *rest) for kind, *rest in columns]
