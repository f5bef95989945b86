"""What an evaluation found: one row per policy and kind of problem, a line of evaluations.jsonl."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actors.relay.grammar import without_commands
from pipelines.experiment.stage_names import PolicyName
from pipelines.records.answers import AnswerTable
from rewards.answers import extract_answer

EVALUATIONS = "evaluations.jsonl"
ALL = "all"
"""the kind of the row on all problems, and the scope of all problems together in a study"""
_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One policy on the problems of one kind. Accuracies, shares and ratios lie between 0 and 1."""

    name: str
    """when it was: base, warmup, grpo-<step> or final"""
    step: int
    """GRPO steps done"""
    policy: PolicyName
    kind: str
    problems: int
    samples: int
    """answers, of all problems together"""
    accuracy: float
    """mean over the problems of the share of right answers (avg@k)"""
    accuracy_ci95: tuple[float, float]
    """95 % interval over problems, since answers to one problem are not independent"""
    solved_share: float
    """problems with a right answer among their k (pass@k); the accuracy if k is 1"""
    call_ratio: float
    """teacher-written tokens / all output tokens, pooled"""
    calls_per_sample: float
    with_call_share: float
    """samples with a call"""
    failed_call_share: float
    """calls that the teacher failed or did not answer in time; 0 without a call"""
    cut_off_share: float
    """samples that ended at a limit and not by an end of text"""
    requested_mean: float | None
    """n of a call, as the student wrote it; None without a call"""
    output_tokens_mean: float
    oracle_call_ratio: float | None
    """call ratio of the best possible policy on the same problems; None if the task cannot compute it"""
    oracle_accuracy: float | None
    no_box_share: float | None = None
    """answers without a final answer to grade; None in files of earlier versions"""


def evaluation_of(
    table: AnswerTable,
    *,
    name: str,
    step: int,
    policy: PolicyName,
    kind: str,
    oracle_call_ratio: float | None,
    oracle_accuracy: float | None,
) -> Evaluation:
    """Return the row of these answers. All of them count as one `kind`."""
    outcomes: dict[int, list[bool]] = defaultdict(list)
    for problem, right in zip(table.problem.tolist(), table.correct.tolist(), strict=True):
        outcomes[problem].append(right)
    calls = int(table.calls.sum())
    return Evaluation(
        name=name,
        step=step,
        policy=policy,
        kind=kind,
        problems=len(outcomes),
        samples=len(table),
        accuracy=float(np.mean([np.mean(rights) for rights in outcomes.values()])),
        accuracy_ci95=accuracy_interval(list(outcomes.values())),
        solved_share=sum(any(rights) for rights in outcomes.values()) / len(outcomes),
        call_ratio=float(table.teacher_tokens.sum() / max(table.output_tokens.sum(), 1)),
        calls_per_sample=calls / len(table),
        with_call_share=float((table.calls > 0).mean()),
        failed_call_share=int(table.failed_calls.sum()) / max(calls, 1),
        cut_off_share=float(table.cut_off.mean()),
        requested_mean=sum(map(sum, table.call_requested)) / calls if calls else None,
        output_tokens_mean=float(table.output_tokens.mean()),
        oracle_call_ratio=oracle_call_ratio,
        oracle_accuracy=oracle_accuracy,
        no_box_share=float(np.mean([extract_answer(without_commands(text)) is None for text in table.text])),
    )


def accuracy_interval(outcomes: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """Return the 95 % interval of the mean accuracy over problems, given the answers to each.

    It is Wilson's if every problem has one answer, or if there is only one problem. Otherwise it is the normal
    approximation over the problems' accuracies.
    """
    accuracies = [sum(rights) / len(rights) for rights in outcomes]
    mean = sum(accuracies) / len(accuracies)
    if all(len(rights) == 1 for rights in outcomes) or len(accuracies) < 2:
        return wilson_interval(sum(map(sum, outcomes)), sum(map(len, outcomes)))
    variance = sum((accuracy - mean) ** 2 for accuracy in accuracies) / (len(accuracies) - 1)
    spread = _Z95 * math.sqrt(variance / len(accuracies))
    return max(mean - spread, 0.0), min(mean + spread, 1.0)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share."""
    z = _Z95
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)
