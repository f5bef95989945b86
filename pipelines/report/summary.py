"""The report's verdict and headline table, computed from a run's evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from pipelines.report.data import POLICIES, Evaluation, Policy, Run, kind_label

PHASES: tuple[str, ...] = ("before warm-up", "after warm-up", "after GRPO")
POLICY_LABELS = {"student": "Student alone", "teacher": "Teacher alone", "relay": "Relay"}
AVERAGE = "average of sets"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one policy did on one kind; accuracy, interval and call ratio lie between 0 and 1."""

    accuracy: float
    interval: tuple[float, float] | None
    call_ratio: float | None
    problems: int | None = None


@dataclass(frozen=True, slots=True)
class TableRow:
    """One policy in one phase."""

    policy: str
    phase: str
    step: int
    """GRPO steps done"""
    cells: tuple[Cell | None, ...]
    """as many as the table's columns; None where it was not evaluated"""


@dataclass(frozen=True, slots=True)
class Table:
    """The headline table: kinds across, policies by phases down."""

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def phase_of(evaluation: Evaluation) -> str:
    """Which of PHASES an evaluation belongs to."""
    if evaluation.name in ("base", "citer"):  # CITER routes for the untrained student
        return PHASES[0]
    if evaluation.name == "warmup" or (evaluation.step == 0 and evaluation.name != "final"):
        return PHASES[1]
    return PHASES[2]


def evaluated_together(
    run: Run, policy: Policy, kinds: Sequence[str], phase: str | None = None
) -> tuple[Evaluation | None, ...]:
    """One evaluation's result on each of `kinds`, None where it lacks one: never a mixture of evaluations.

    Of the evaluations in the phase (in any, if None), that with most of the kinds counts; among those, the last.
    """
    by_name: dict[str, dict[str, Evaluation]] = {}
    for evaluation in run.evaluations:
        if evaluation.policy == policy and evaluation.kind in kinds and phase in (None, phase_of(evaluation)):
            by_name.setdefault(evaluation.name, {})[evaluation.kind] = evaluation

    def rank(name: str) -> tuple[int, int, bool, int]:
        one = next(iter(by_name[name].values()))
        return len(by_name[name]), PHASES.index(phase_of(one)), name == "final", one.step

    chosen = by_name[max(by_name, key=rank)] if by_name else {}
    return tuple(chosen.get(kind) for kind in kinds)


def headline_table(run: Run) -> Table:
    """Policies by phases down, kinds across; an average column where there are several sets and none named `all`."""
    kinds = run.kinds
    averaged = len(kinds) > 1 and "all" not in kinds
    rows: list[TableRow] = []
    others = dict.fromkeys(e.policy for e in run.evaluations if e.policy not in POLICIES)
    for policy in (*POLICIES, *others):
        for phase in PHASES:
            found = evaluated_together(run, policy, kinds, phase)
            steps = [evaluation.step for evaluation in found if evaluation]
            if steps:
                cells = [_cell(evaluation) for evaluation in found]
                average = [_average(cells)] if averaged else []
                rows.append(TableRow(_policy_label(policy), phase, max(steps), (*cells, *average)))
    oracle = [_oracle_cell(run, kind) for kind in kinds]
    if any(oracle):
        rows.append(TableRow("Oracle", "best possible", 0, (*oracle, *([_average(oracle)] if averaged else []))))
    return Table((*(kind_label(kind) for kind in kinds), *([AVERAGE] if averaged else [])), tuple(rows))


def verdict(run: Run) -> str:
    """One sentence on what the run reached, from its last evaluations, or from its last rollouts without any."""
    if not run.evaluations:
        return _verdict_from_rollouts(run)
    kinds = _headline_kinds(run)
    relay = _headline(run, "relay", kinds)
    if relay is None:
        return _verdict_without_relay(run, kinds)
    parts = [f"the relay student solves {percent(relay.accuracy)} of {_where(kinds)}"]
    students = [cell for phase in PHASES if (cell := _headline(run, "student", kinds, phase)) is not None]
    if students:
        # The student alone at its best phase, so that the relay is never measured against a weak one.
        parts.append(_against(relay, max(students, key=lambda cell: cell.accuracy)))
    parts.append(f"with {percent(relay.call_ratio or 0.0)} of its tokens from the teacher")
    ends = []
    teacher = _headline(run, "teacher", kinds)
    if teacher is not None:
        ends.append(f"the teacher alone solves {percent(teacher.accuracy)}")
    oracle = _oracle_cell(run, kinds[0]) if len(kinds) == 1 else None
    if oracle is not None and oracle.call_ratio is not None:
        reaches = "needs" if isnan(oracle.accuracy) else f"reaches {percent(oracle.accuracy)} with"
        ends.append(f"the oracle {reaches} {percent(oracle.call_ratio)}")
    text = _so_far(run, "relay", kinds) + ", ".join(parts)
    return _sentence(f"{text}; {' and '.join(ends)}" if ends else text)


def _policy_label(policy: Policy) -> str:
    return POLICY_LABELS.get(policy, policy.replace("citer@", "CITER, threshold "))


def percent(share: float) -> str:
    """0.0981 as `9.8 %`, 1 as `100 %`; a no-break space before the sign."""
    return "100\u00a0%" if share == 1 else f"{100 * share:.1f}\u00a0%"


def duration(seconds: float) -> str:
    """3725 as `1 h 2 min`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _against(relay: Cell, student: Cell) -> str:
    alone = percent(student.accuracy)
    if relay.interval is None or student.interval is None:
        return f"against {alone} alone"
    if relay.interval[0] > student.interval[1]:
        return f"against {alone} alone"
    if relay.interval[1] < student.interval[0]:
        return f"fewer than the {alone} it solves alone"
    return f"not clearly more than the {alone} it solves alone (the confidence intervals overlap)"


def _headline_kinds(run: Run) -> tuple[str, ...]:
    """What the verdict speaks of: the problems that need the teacher, else all, else every set."""
    return next(((kind,) for kind in ("teacher_known", "all") if kind in run.kinds), run.kinds)


def _headline(run: Run, policy: Policy, kinds: Sequence[str], phase: str | None = None) -> Cell | None:
    cells = [_cell(evaluation) for evaluation in evaluated_together(run, policy, kinds, phase)]
    return cells[0] if len(cells) == 1 else _average(cells)


def _where(kinds: Sequence[str]) -> str:
    if len(kinds) > 1:
        return f"the problems, on average over {len(kinds)} sets"
    return {"teacher_known": "problems that need the teacher", "all": "all problems"}.get(kinds[0], kinds[0])


def _so_far(run: Run, policy: Policy, kinds: Sequence[str]) -> str:
    """Empty once the final evaluation is what the verdict speaks of."""
    evaluation = next(e for e in evaluated_together(run, policy, kinds) if e is not None)
    return "" if evaluation.name == "final" else f"so far, at GRPO step {evaluation.step}, "


def _verdict_without_relay(run: Run, kinds: Sequence[str]) -> str:
    student, before = _headline(run, "student", kinds), _headline(run, "student", kinds, PHASES[0])
    if student is None:
        return "Neither the relay nor the student has a complete evaluation yet."
    text = f"{_so_far(run, 'student', kinds)}the student solves {percent(student.accuracy)} of {_where(kinds)} alone"
    return _sentence(
        text if before is None or before == student else f"{text}, {percent(before.accuracy)} before training"
    )


def _cell(evaluation: Evaluation | None) -> Cell | None:
    if evaluation is None:
        return None
    ratio = None if evaluation.policy == "student" else evaluation.call_ratio
    return Cell(evaluation.accuracy, evaluation.accuracy_ci95, ratio, evaluation.problems)


def _oracle_cell(run: Run, kind: str) -> Cell | None:
    for evaluation in reversed([e for e in run.evaluations if e.kind == kind]):
        if evaluation.oracle_call_ratio is not None:
            accuracy = float("nan") if evaluation.oracle_accuracy is None else evaluation.oracle_accuracy
            return Cell(accuracy, None, evaluation.oracle_call_ratio)
    return None


def _average(cells: Sequence[Cell | None]) -> Cell | None:
    """The unweighted mean over sets; None unless every set was evaluated."""
    present = [cell for cell in cells if cell is not None]
    if not present or len(present) < len(cells):
        return None
    ratios = [cell.call_ratio for cell in present if cell.call_ratio is not None]
    ratio = sum(ratios) / len(ratios) if len(ratios) == len(present) else None
    return Cell(sum(cell.accuracy for cell in present) / len(present), None, ratio)


def _verdict_from_rollouts(run: Run) -> str:
    accuracy, ratio = (run.series(metric)[1] for metric in ("rollout/accuracy", "rollout/call_ratio"))
    if not accuracy.size:
        return "No evaluation and no rollout has finished yet."
    share = f", with {percent(float(ratio[-1]))} of the tokens from the teacher" if ratio.size else ""
    done = f"at GRPO step {run.steps_done}, {percent(float(accuracy[-1]))} of rollouts are correct"
    return f"No evaluation has finished yet; {done}{share}."


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
