"""Evaluation on the held-out problems, by kind: student alone, teacher alone, relay, and CITER's routed pair."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import ray

from actors.relay.grammar import CommandGrammar
from actors.relay.tokenizer import TransformersTokenizer
from actors.rollout import Policy
from actors.trajectory import TrajectoryBatch
from pipelines.data import EvaluationSet
from pipelines.evaluations import EVALUATIONS, Evaluation, accuracy_interval
from pipelines.experiment import ChainArithmeticSource, ModelSettings
from pipelines.problems import Problem
from pipelines.progress import Progress
from pipelines.rollouts import Decoding, GradedOrder, decode_and_grade
from pipelines.run import Run
from pipelines.stages.citer import CITER, decode_routed, policy_name, train_router
from pipelines.tasks.knowledge import Knowledge, Role, knowledge_of
from pipelines.tasks.oracle import oracle_cost
from pipelines.traces import Trace, trace_of

ALL, BASE = "all", "base"
_ANSWERS_PER_ORDER = 32


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """One policy's answers, as columns over the problems' samples."""

    problem: np.ndarray
    """which problem each answer is to: two of one set may ask the same"""
    kinds: np.ndarray
    questions: np.ndarray
    correct: np.ndarray
    output_tokens: np.ndarray
    teacher_tokens: np.ndarray
    calls: np.ndarray
    requested_tokens: np.ndarray

    @classmethod
    def of(cls, orders: Sequence[GradedOrder]) -> Answers:
        answered = [(problem, order.graded.group_size) for order in orders for problem in order.problems]
        problems = [problem for problem, samples in answered for _ in range(samples)]  # samples stand side by side

        def column(name: str) -> np.ndarray:
            return np.concatenate([getattr(order.graded, name) for order in orders])

        return cls(
            problem=np.repeat(np.arange(len(answered)), [samples for _, samples in answered]),
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
    sets = run.problems.evaluation
    policies = [Policy.STUDENT, Policy.RELAY]
    if during_training:
        sets = first_problems(sets, run.experiment.evaluation.problems_during_training)
    elif name == BASE:
        policies = [Policy.STUDENT, Policy.TEACHER]
    for policy in policies:
        decode = functools.partial(_decode, run, policy)
        orders = _collect(sets, f"evaluate {name}: {policy.value}", decode)
        _record(run, name, step, policy.value, orders)
        if policy is Policy.RELAY and not during_training:
            _log_traces(run, orders, name, step)
    run.directory.mark_done(stage, {"problems": sum(len(found.problems) for found in sets)})


def evaluate_citer(run: Run, training: Sequence[Problem]) -> None:
    """Train CITER's token router on `training`, and evaluate the routed pair at every threshold, a policy each."""
    stage = f"evaluate-{CITER}"
    if not run.experiment.citer.enabled or run.directory.stage_done(stage):
        return
    router = train_router(run, training)
    for threshold in run.experiment.citer.thresholds:
        policy = policy_name(threshold)
        decode = functools.partial(_decode_routed, run, router, threshold)
        orders = _collect(run.problems.evaluation, f"evaluate {policy}", decode)
        _record(run, CITER, 0, policy, orders)
    run.directory.mark_done(stage, {"thresholds": list(run.experiment.citer.thresholds)})


def first_problems(sets: Sequence[EvaluationSet], count: int) -> tuple[EvaluationSet, ...]:
    """Return the first problems of each set, an even share of `count` from each and at least one."""
    share = max(count // len(sets), 1)
    return tuple(replace(found, problems=found.problems[:share]) for found in sets)


def _record(run: Run, name: str, step: int, policy: str, orders: Sequence[GradedOrder]) -> None:
    answers = Answers.of(orders)
    for kind in [*sorted(set(answers.kinds)), ALL]:
        row = _row(run, name, step, policy, str(kind), answers.of_kind(kind))
        run.directory.append_jsonl(EVALUATIONS, asdict(row))
        run.tracker.log(
            "evaluate",
            step,
            {f"{policy}/{kind}/accuracy": row.accuracy, f"{policy}/{kind}/call_ratio": row.call_ratio},
        )


def _row(run: Run, name: str, step: int, policy: str, kind: str, answers: Answers) -> Evaluation:
    samples, calls = len(answers.kinds), int(answers.calls.sum())
    outcomes: dict[int, list[bool]] = defaultdict(list)
    for problem, right in zip(answers.problem.tolist(), answers.correct.tolist(), strict=True):
        outcomes[problem].append(right)
    oracle = None
    if all(isinstance(source, ChainArithmeticSource) for source in run.experiment.data.evaluation):
        oracle = oracle_cost(
            [str(question) for question in answers.questions],
            run.command_tokens,
            _knowledge("student", run.experiment.models.student),
            _knowledge("teacher", run.experiment.models.teacher),
        )
    return Evaluation(
        name=name,
        step=step,
        policy=policy,
        kind=kind,
        problems=len(outcomes),
        samples=samples,
        accuracy=float(np.mean([np.mean(rights) for rights in outcomes.values()])),
        accuracy_ci95=accuracy_interval(list(outcomes.values())),
        solved_share=sum(any(rights) for rights in outcomes.values()) / len(outcomes),
        call_ratio=float(answers.teacher_tokens.sum() / answers.output_tokens.sum()),
        calls_per_sample=calls / samples,
        called_share=float((answers.calls > 0).mean()),
        requested_mean=float(answers.requested_tokens.sum() / calls) if calls else None,
        output_tokens_mean=float(answers.output_tokens.mean()),
        oracle_call_ratio=oracle.call_ratio if oracle else None,
        oracle_accuracy=oracle.accuracy if oracle else None,
    )


def _knowledge(role: Role, settings: ModelSettings) -> Knowledge:
    """Return what a model was pretrained to know; of a given one, what its role is supposed to."""
    return knowledge_of(role, settings.pretrain.skill if settings.pretrain else None)


def _collect(
    sets: Sequence[EvaluationSet], label: str, decode: Callable[[EvaluationSet], Iterator[GradedOrder]]
) -> list[GradedOrder]:
    orders = []
    with Progress(sum(len(found.problems) for found in sets), label) as progress:
        for found in sets:
            for order in decode(found):
                orders.append(order)
                progress.update(len(order.problems))
    return orders


def _decode(run: Run, policy: Policy, found: EvaluationSet) -> Iterator[GradedOrder]:
    settings = run.experiment.evaluation
    sampling = found.sampling or settings.sampling
    # The teacher alone answers as the student does; on call it writes as it always does.
    teacher_sampling = sampling if policy is Policy.TEACHER else run.experiment.teacher.sampling
    size = max(_ANSWERS_PER_ORDER // found.samples, 1)
    decoding = Decoding(policy, found.samples, settings.limits, sampling, teacher_sampling, problems_per_order=size)
    return decode_and_grade(run, found.problems, decoding)


def _decode_routed(run: Run, router: Path, threshold: float, found: EvaluationSet) -> Iterator[GradedOrder]:
    settings = run.experiment.evaluation
    sampling = found.sampling or settings.sampling
    return decode_routed(
        run, found.problems, router, threshold, limits=settings.limits, sampling=sampling, samples=found.samples
    )


def _log_traces(run: Run, orders: Sequence[GradedOrder], name: str, step: int) -> None:
    grammar = CommandGrammar(TransformersTokenizer(run.prompts.student_tokenizer))
    traces: list[Trace] = []
    for order in orders:
        if len(traces) >= run.experiment.evaluation.traces:
            break
        batch: TrajectoryBatch = ray.get(order.batch)
        traces += [
            trace_of(batch[i], problem, bool(order.graded.correct[i]), grammar, name, step)
            for i, problem in zip(itertools.count(step=order.graded.group_size), order.problems, strict=False)
        ]
    run.tracker.log_traces("evaluate", step, traces[: run.experiment.evaluation.traces])
