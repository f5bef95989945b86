"""What the trials of a sweep found, as the sweep's page and its table for machines show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipelines.records.objective import WithinBudget


class State(StrEnum):
    """What has become of a trial."""

    RUNNING = "running"
    FINISHED = "finished"
    PRUNED = "ended early"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class SweepTrial:
    """One trial."""

    number: int
    """from 0, in the order in which the trials began; a trial that is tried again keeps its number"""
    state: State
    values: Mapping[str, bool | int | float | str]
    """by dotted key, of the parameters that have more than one value"""
    objectives: tuple[WithinBudget, ...]
    """of each evaluation within GRPO, in their order; the last one of a finished trial is the final evaluation"""
    directory: Path
    seconds: float
    """since it began in this session, or its last session's seconds"""
    reason: str = ""
    """why it failed or ended early"""

    @property
    def objective(self) -> WithinBudget | None:
        """The newest objective: the final one if the trial is finished; None before the first evaluation."""
        return self.objectives[-1] if self.objectives else None


@dataclass(frozen=True, slots=True)
class SweepResults:
    """All trials of a sweep, in the order of their numbers."""

    name: str
    method: str
    wanted: int
    """how many trials there are to be"""
    budget: float
    """the call ratio up to which the accuracy counts in full"""
    parameters: tuple[str, ...]
    """dotted keys of the parameters that have more than one value"""
    logarithmic: frozenset[str]
    """those that are drawn on a logarithmic scale"""
    trials: tuple[SweepTrial, ...]

    def of(self, *states: State) -> Sequence[SweepTrial]:
        """Return the trials in any of the states, in the order of their numbers."""
        return [trial for trial in self.trials if trial.state in states]

    @property
    def ranked(self) -> list[SweepTrial]:
        """The finished trials, the best first."""
        return sorted(self.of(State.FINISHED), key=lambda trial: -_value(trial))

    @property
    def best(self) -> SweepTrial | None:
        """The finished trial with the largest objective; None if none is finished."""
        return next(iter(self.ranked), None)


def _value(trial: SweepTrial) -> float:
    return trial.objective.value if trial.objective else 0.0
