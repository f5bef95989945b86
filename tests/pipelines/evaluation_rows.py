"""Rows of evaluations, made up."""

from __future__ import annotations

from pipelines.records.evaluations import Evaluation, wilson_interval


def row(name: str, step: int, policy: str, kind: str, right: int, of: int = 200, **changes: object) -> Evaluation:
    values: dict[str, object] = {
        "name": name,
        "step": step,
        "policy": policy,
        "kind": kind,
        "problems": of,
        "samples": of,
        "accuracy": right / of,
        "accuracy_ci95": wilson_interval(right, of),
        "solved_share": right / of,
        "call_ratio": 0.09 if policy == "relay" else float(policy == "teacher"),
        "calls_per_sample": 1.0,
        "with_call_share": 0.6,
        "failed_call_share": 0.0,
        "cut_off_share": 0.0,
        "requested_mean": None,
        "output_tokens_mean": 30.0,
        "oracle_call_ratio": None,
        "oracle_accuracy": None,
    }
    return Evaluation(**(values | changes))  # type: ignore[arg-type]


def run(known: int, teacher_known: int, name: str = "final", step: int = 110) -> list[Evaluation]:
    """A run whose student solved 200 of 200 known problems before and 3 of 200 that need the teacher."""
    return [
        row("base", 0, "student", "known", 200),
        row("base", 0, "student", "teacher_known", 3),
        row("base", 0, "student", "all", 203, 400),
        row("base", 0, "teacher", "teacher_known", 199),
        row("warmup", 0, "relay", "known", 198),
        row("warmup", 0, "relay", "teacher_known", 40),
        row("warmup", 0, "relay", "all", 238, 400),
        row(name, step, "relay", "known", known),
        row(name, step, "relay", "teacher_known", teacher_known),
        row(name, step, "relay", "all", known + teacher_known, 400),
    ]
