"""The report's verdict and headline table, computed from a run's evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.analysis.run_verdict import Change, RunVerdict, change_of, verdict_on
from pipelines.experiment.stage_names import PolicyName
from pipelines.records.evaluations import ALL, Evaluation
from pipelines.records.phases import BEFORE, PHASES, evaluated_together
from pipelines.report.kinds import kind_label
from pipelines.report.run.reading import POLICIES, RunRecords
from pipelines.wording import percent

POLICY_LABELS = {
    "student": "Student alone",
    "teacher": "Teacher alone",
    "relay": "Relay",
    "random_placement": "Calls at random places",
}
AVERAGE = "average of kinds"


@dataclass(frozen=True, slots=True)
class ResultCell:
    """One policy's results on one kind; accuracy, interval and call ratio are between 0 and 1."""

    accuracy: float
    interval: tuple[float, float] | None
    call_ratio: float | None
    problems: int | None = None
    change: Change | None = None
    """the change since the student before training, if it is more than chance explains"""


@dataclass(frozen=True, slots=True)
class AnswerShare:
    """A share of an evaluation's answers, between 0 and 1."""

    share: float
    """over all kinds"""
    most: float
    """share of the kind that has the most"""
    kind: str


@dataclass(frozen=True, slots=True)
class HeadlineRow:
    """One policy in one phase."""

    policy: str
    phase: str
    """empty if the run trains nothing"""
    step: int
    """GRPO steps done"""
    cells: tuple[ResultCell | None, ...]
    """one for each column of the table; None if it was not evaluated"""
    cut_off: AnswerShare | None = None
    """answers that ended at a limit; None for the oracle"""
    no_box: AnswerShare | None = None
    """answers without a final answer; None for the oracle, and where it was not recorded"""
    failed_calls: float | None = None
    """share of the calls; None if the policy makes no calls"""

    @property
    def label(self) -> str:
        return f"{self.policy}, {self.phase}" if self.phase else self.policy


@dataclass(frozen=True, slots=True)
class HeadlineTable:
    """The headline table: a column for each kind, a row for each policy in each phase."""

    columns: tuple[str, ...]
    rows: tuple[HeadlineRow, ...]


def headline_table(run: RunRecords) -> HeadlineTable:
    """Return the headline table. It has an average column if there are several sets and none is named `all`."""
    kinds = run.kinds
    averaged = len(kinds) > 1 and ALL not in kinds
    rows: list[HeadlineRow] = []
    others = dict.fromkeys(e.policy for e in run.evaluations if e.policy not in POLICIES)
    base = _together(run, "student", kinds, BEFORE)
    for policy in (*POLICIES, *others):
        for phase in PHASES:
            found = _together(run, policy, kinds, phase)
            present = [evaluation for evaluation in found if evaluation]
            if present:
                cells = [_cell(evaluation, before) for evaluation, before in zip(found, base, strict=True)]
                average = [_average(cells)] if averaged else []
                label, step = policy_label(policy), max(evaluation.step for evaluation in present)
                failed = failed_call_share(present) if policy not in ("student", "teacher") else None
                rows.append(
                    HeadlineRow(
                        label,
                        phase if run.trains else "",
                        step,
                        (*cells, *average),
                        cut_off=_share(present, [one.cut_off_share for one in present]),
                        no_box=_share(present, [one.no_box_share for one in present]),
                        failed_calls=failed,
                    )
                )
    oracle = [_oracle_cell(run, kind) for kind in kinds]
    if any(oracle):
        rows.append(HeadlineRow("Oracle", "best possible", 0, (*oracle, *([_average(oracle)] if averaged else []))))
    return HeadlineTable((*(kind_label(kind) for kind in kinds), *([AVERAGE] if averaged else [])), tuple(rows))


def evaluation_rows(run: RunRecords) -> list[tuple[str, str, Evaluation]]:
    """Return every row of every evaluation, with the names of its policy and kind for readers."""
    return [(policy_label(one.policy), kind_label(one.kind), one) for one in run.evaluations]


def run_verdict(run: RunRecords) -> RunVerdict:
    """Return the verdict on a run, from its last evaluations; without any, from its last rollouts."""
    found = verdict_on(run.evaluations, run.alarms, warmed_up=run.warmed_up)
    return found if run.evaluations else replace(found, headline=_verdict_from_rollouts(run))


def policy_label(policy: PolicyName) -> str:
    return POLICY_LABELS.get(policy, policy.replace("citer@", "CITER, threshold "))


def duration(seconds: float) -> str:
    """Return seconds as text: 3725 as `1 h 2 min`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def failed_call_share(evaluations: Sequence[Evaluation]) -> float:
    """Return the share of failed calls over all kinds of one evaluation."""
    kinds = [one for one in evaluations if one.kind != ALL] or list(evaluations)
    calls = [one.calls_per_sample * one.samples for one in kinds]
    return sum(n * one.failed_call_share for n, one in zip(calls, kinds, strict=True)) / max(sum(calls), 1)


def _together(run: RunRecords, policy: PolicyName, kinds: Sequence[str], phase: str) -> tuple[Evaluation | None, ...]:
    return evaluated_together(run.evaluations, policy, kinds, phase, warmed_up=run.warmed_up)


def _share(evaluations: Sequence[Evaluation], shares: Sequence[float | None]) -> AnswerShare | None:
    """Return one evaluation's share over all answers and in the worst kind; None if it is not known for every kind.

    `shares` are those of `evaluations`, which differ in kind only.
    """
    found = [(one, share) for one, share in zip(evaluations, shares, strict=True) if share is not None]
    kinds = [(one, share) for one, share in found if one.kind != ALL] or found
    if len(found) < len(evaluations):
        return None
    worst, most = max(kinds, key=lambda pair: pair[1])
    share = sum(share * one.samples for one, share in kinds) / sum(one.samples for one, _ in kinds)
    return AnswerShare(share, most, worst.kind)


def _cell(evaluation: Evaluation | None, before: Evaluation | None) -> ResultCell | None:
    if evaluation is None:
        return None
    ratio = None if evaluation.policy == "student" else evaluation.call_ratio
    change = None
    if before is not None and evaluation.policy != "teacher" and evaluation is not before:
        change = change_of(evaluation, before)
    clear = change if change is not None and change.clear else None
    return ResultCell(evaluation.accuracy, evaluation.accuracy_ci95, ratio, evaluation.problems, clear)


def _oracle_cell(run: RunRecords, kind: str) -> ResultCell | None:
    for evaluation in reversed([e for e in run.evaluations if e.kind == kind]):
        if evaluation.oracle_call_ratio is not None:
            accuracy = float("nan") if evaluation.oracle_accuracy is None else evaluation.oracle_accuracy
            return ResultCell(accuracy, None, evaluation.oracle_call_ratio)
    return None


def _average(cells: Sequence[ResultCell | None]) -> ResultCell | None:
    """Return the unweighted mean over sets; None unless every set was evaluated."""
    present = [cell for cell in cells if cell is not None]
    if not present or len(present) < len(cells):
        return None
    ratios = [cell.call_ratio for cell in present if cell.call_ratio is not None]
    ratio = sum(ratios) / len(ratios) if len(ratios) == len(present) else None
    return ResultCell(sum(cell.accuracy for cell in present) / len(present), None, ratio)


def _verdict_from_rollouts(run: RunRecords) -> str:
    accuracy, ratio = (run.series(metric)[1] for metric in ("rollout/accuracy", "rollout/call_ratio"))
    if not accuracy.size:
        return "No evaluation and no rollout has finished yet."
    share = f", with {percent(float(ratio[-1]))} of the tokens from the teacher" if ratio.size else ""
    done = f"at GRPO step {run.steps_done}, {percent(float(accuracy[-1]))} of rollouts are correct"
    return f"No evaluation has finished yet; {done}{share}."
