"""Evaluation: student alone, teacher alone and relay on the held-out problems, by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import ray

from actors.relay.grammar import CommandGrammar
from actors.relay.tokenizer import TransformersTokenizer
from actors.rollout import Policy
from actors.trajectory import TrajectoryBatch
from pipelines.evaluations import EVALUATIONS, Evaluation, wilson_interval
from pipelines.experiment import ChainArithmeticSource
from pipelines.problems import Problem
from pipelines.progress import Progress
from pipelines.rollouts import Decoding, GradedOrder, decode_and_grade
from pipelines.run import Run
from pipelines.tasks.oracle import oracle_cost
from pipelines.traces import Trace, trace_of

ALL = "all"
_PROBLEMS_PER_ORDER = 32


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """One policy's answers, as columns over the problems."""

    kinds: np.ndarray
    questions: np.ndarray
    correct: np.ndarray
    output_tokens: np.ndarray
    teacher_tokens: np.ndarray
    calls: np.ndarray
    requested_tokens: np.ndarray

    @classmethod
    def of(cls, orders: Sequence[GradedOrder]) -> Answers:
        problems = [problem for order in orders for problem in order.problems]

        def column(name: str) -> np.ndarray:
            return np.concatenate([getattr(order.graded, name) for order in orders])

        return cls(
            kinds=np.array([problem.kind for problem in problems]),
            questions=np.array([problem.question for problem in problems]),
            correct=column("correct"),
            output_tokens=column("output_tokens"),
            teacher_tokens=column("teacher_tokens"),
            calls=column("calls"),
            requested_tokens=column("requested_tokens"),
        )

    def of_kind(self, kind: str) -> Answers:
        """Return those to one kind of problem, or all of them."""
        chosen = np.ones(len(self.kinds), bool) if kind == ALL else self.kinds == kind
        return Answers(*(getattr(self, column.name)[chosen] for column in fields(self)))


def evaluate(run: Run, name: str, step: int, during_training: bool = False) -> None:
    """Append one row per policy and kind to the evaluations; `name` says when it was.

    An evaluation that a finished run recorded is not repeated. The teacher is evaluated once: its weights never change.
    """
    stage = f"evaluate-{name}"
    if run.directory.stage_done(stage):
        return
    problems = run.problems.evaluation_problems
    policies = [Policy.STUDENT, Policy.RELAY]
    if during_training:
        problems = problems[: run.experiment.evaluation.problems_during_training]
    elif not run.directory.stage_done("evaluate-base"):
        policies = [Policy.STUDENT, Policy.TEACHER]
    for policy in policies:
        orders = _decode(run, problems, policy, name)
        answers = Answers.of(orders)
        for kind in [*sorted(set(answers.kinds)), ALL]:
            row = _row(run, name, step, policy, str(kind), answers.of_kind(kind))
            run.directory.append_jsonl(EVALUATIONS, asdict(row))
            run.tracker.log(
                "evaluate",
                step,
                {f"{policy.value}/{kind}/accuracy": row.accuracy, f"{policy.value}/{kind}/call_ratio": row.call_ratio},
            )
        if policy is Policy.RELAY and not during_training:
            _log_traces(run, orders, name, step)
    if not during_training:
        run.directory.mark_done(stage, {"problems": len(problems)})


def _row(run: Run, name: str, step: int, policy: Policy, kind: str, answers: Answers) -> Evaluation:
    problems, correct, calls = len(answers.kinds), int(answers.correct.sum()), int(answers.calls.sum())
    oracle = None
    if all(isinstance(source, ChainArithmeticSource) for source in run.experiment.data.evaluation):
        oracle = oracle_cost([str(question) for question in answers.questions], run.command_tokens)
    return Evaluation(
        name=name,
        step=step,
        policy=policy.value,
        kind=kind,
        problems=problems,
        accuracy=correct / problems,
        accuracy_ci95=wilson_interval(correct, problems),
        call_ratio=float(answers.teacher_tokens.sum() / answers.output_tokens.sum()),
        calls_per_sample=calls / problems,
        called_share=float((answers.calls > 0).mean()),
        requested_mean=float(answers.requested_tokens.sum() / calls) if calls else None,
        output_tokens_mean=float(answers.output_tokens.mean()),
        oracle_call_ratio=oracle.call_ratio if oracle else None,
        oracle_accuracy=oracle.accuracy if oracle else None,
    )


def _decode(run: Run, problems: Sequence[Problem], policy: Policy, name: str) -> list[GradedOrder]:
    settings = run.experiment.evaluation
    decoding = Decoding(
        policy,
        1,
        settings.limits,
        settings.sampling,
        run.experiment.teacher.sampling,
        problems_per_order=_PROBLEMS_PER_ORDER,
    )
    orders = []
    with Progress(len(problems), f"evaluate {name}: {policy.value}") as progress:
        for order in decode_and_grade(run, problems, decoding):
            orders.append(order)
            progress.update(len(order.problems))
    return orders


def _log_traces(run: Run, orders: Sequence[GradedOrder], name: str, step: int) -> None:
    grammar = CommandGrammar(TransformersTokenizer(run.prompts.student_tokenizer))
    traces: list[Trace] = []
    for order in orders:
        if len(traces) >= run.experiment.evaluation.traces:
            break
        batch: TrajectoryBatch = ray.get(order.batch)
        traces += [
            trace_of(batch[i], problem, bool(order.graded.correct[i]), grammar, name, step)
            for i, problem in enumerate(order.problems)
        ]
    run.tracker.log_traces("evaluate", step, traces[: run.experiment.evaluation.traces])
