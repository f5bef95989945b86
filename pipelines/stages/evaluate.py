"""Evaluates each policy on the held-out problems: its table of answers, and a row for each kind of problem."""

from __future__ import annotations

import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import ray

from actors.relay.grammar import CommandGrammar
from actors.relay.planned_calls import Plan, random_plans
from actors.relay.tokenizer import TransformersTokenizer
from actors.rollout import Policy
from actors.trajectory import TrajectoryBatch
from cluster.errors import RunError
from pipelines.data.chain_arithmetic.knowledge import Knowledge, Role, knowledge_of
from pipelines.data.chain_arithmetic.oracle import oracle_cost
from pipelines.data.problem import Problem
from pipelines.data.settings import ChainArithmeticSource
from pipelines.data.sources import EvaluationSet
from pipelines.experiment.models import ModelSettings
from pipelines.experiment.stage_names import (
    BASE,
    CITER,
    FINAL,
    WARMUP,
    PolicyName,
    citer_policy,
    evaluated_steps,
    evaluation_stage,
    evaluation_within_grpo,
)
from pipelines.records.answers import ANSWERS, AnswerTable
from pipelines.records.evaluations import ALL, Evaluation, evaluation_of
from pipelines.records.traces import Trace, trace_of
from pipelines.rollout.decode_and_grade import GradedOrder, RolloutDecoding, decode_and_grade
from pipelines.run import Run
from pipelines.stages.answer_recording import answer_table
from pipelines.stages.publishing import ROWS, publish_evaluation, trace_lines, traces_file
from pipelines.terminal.progress import Progress

logger = logging.getLogger(__name__)

_ANSWERS_PER_ORDER = 32

Decode = Callable[[EvaluationSet, int], Iterator[GradedOrder]]
"""takes a set, and the number of answers to the sets before it; yields the graded answers to the set"""


class EvaluationError(RunError):
    """A policy cannot be evaluated; the message says why."""


def evaluate_base(run: Run) -> None:
    """Evaluate the base models, before training."""
    for policy in run.experiment.evaluation.base:
        _evaluate(run, BASE, 0, policy, run.models.student)


def evaluate_warmup(run: Run) -> None:
    """Evaluate the student that GRPO starts from."""
    for policy in run.experiment.evaluated_after_warmup():
        _evaluate(run, WARMUP, 0, policy, run.warm_student)


def evaluate_within_grpo(run: Run, step: int) -> None:
    """Evaluate the learner's student on part of the problems, with the weights that the rollout workers hold."""
    sets = first_problems(run.problems.evaluation, run.experiment.evaluation.problems_during_training)
    for policy in run.experiment.evaluation.training:
        _evaluate(run, evaluation_within_grpo(step), step, policy, None, sets)


def discard_within_grpo(run: Run, step: int) -> None:
    """Mark the evaluations after later steps to be done again: the weights that they evaluated are gone."""
    for later, policy in itertools.product(evaluated_steps(run.experiment), run.experiment.evaluation.training):
        if later > step:
            run.directory.mark_left(evaluation_stage(evaluation_within_grpo(later), policy))


def publish_within_grpo(run: Run) -> None:
    """Copy the evaluations within GRPO to the run's logs. Some are missing if another run trained without them."""
    for step, policy in itertools.product(evaluated_steps(run.experiment), run.experiment.evaluation.training):
        stage = evaluation_stage(evaluation_within_grpo(step), policy)
        if run.directory.stage_done(stage):
            publish_evaluation(run.directory, run.tracker, stage, run.experiment.evaluation.call_ratio_budget)
        else:
            logger.info("%s is missing: another run trained the student without this evaluation", stage)


def evaluate_final(run: Run) -> None:
    """Evaluate the student that the run ends with."""
    for policy in run.experiment.evaluation.final:
        _evaluate(run, FINAL, run.experiment.grpo_steps, policy, run.trained_student)


def train_and_evaluate_citer(run: Run, training: Sequence[Problem]) -> None:
    """Train CITER's token router on the training problems, unless CITER is disabled, and evaluate the routed pair at every threshold."""
    if not run.experiment.citer.enabled:
        return
    from pipelines.stages.citer import train_router  # loads torch, which drivers of other runs do not need

    router = train_router(run, training)
    for threshold in run.experiment.citer.thresholds:
        policy = citer_policy(threshold)
        stage = evaluation_stage(CITER, policy)
        with run.directory.stage(stage) as left:
            if left:
                decode = functools.partial(_decode_routed, run, stage, router, threshold)
                traces = run.experiment.evaluation.traces
                _answer(run, stage, CITER, 0, policy, run.problems.evaluation, decode, traces)
        publish_evaluation(run.directory, run.tracker, stage)


def first_problems(sets: Sequence[EvaluationSet], count: int) -> tuple[EvaluationSet, ...]:
    """Return the first problems of each set: an equal part of `count` from each set, but at least one."""
    share = max(count // len(sets), 1)
    return tuple(replace(found, problems=found.problems[:share]) for found in sets)


def plans_for_random_places(run: Run, name: str, sets: Sequence[EvaluationSet]) -> tuple[Plan, ...]:
    """Return a plan for each answer: the calls of the corresponding relay answer, moved to random places.

    Raises `EvaluationError` if the relay answers are to other problems.
    """
    folder = run.directory.stage_dir(evaluation_stage(name, Policy.RELAY))
    relayed = AnswerTable.read(folder / ANSWERS)
    asked = [problem.question for found in sets for problem in found.problems for _ in range(found.samples_per_problem)]
    if relayed.question.tolist() != asked:
        raise EvaluationError(
            f"{folder.resolve()}: has answers to other problems than the present ones, so their calls cannot be used: "
            "remove it to answer again, or undo the changes in the files of data.evaluation"
        )
    return random_plans(relayed.own_tokens.tolist(), relayed.call_requested, run.experiment.seed)


def check_failed_calls(table: AnswerTable, label: str, highest: float | None) -> None:
    """Raise `EvaluationError` if more than a share `highest` of the calls failed: they would lower the accuracy."""
    calls, failed = int(table.calls.sum()), int(table.failed_calls.sum())
    if highest is None or failed <= highest * calls:
        return
    share, answers = failed / calls, int((table.failed_calls > 0).sum())
    raise EvaluationError(
        f"{label}: {failed} of {calls} calls failed ({100 * share:.1f} %), in {answers} of {len(table)} answers, and "
        f"evaluation.max_failed_call_share allows {100 * highest:g} %. The teacher failed, or did not answer within "
        "evaluation.limits.teacher_timeout_s; its log says which. Nothing of this evaluation was kept. Repair the teacher, raise "
        "the time or lower rollout.sequences_in_flight, and start the run again: it then repeats this evaluation"
    )


def _evaluate(
    run: Run, name: str, step: int, policy: Policy, student: str | None, sets: Sequence[EvaluationSet] | None = None
) -> None:
    """Let the policy answer all problems, unless that is done, and show its rows. `student` None: the learner's."""
    stage = evaluation_stage(name, policy)
    with run.directory.stage(stage) as left:
        if left:
            if student is not None and policy is not Policy.TEACHER:
                run.actors().use_student(student)
            sets = sets or run.problems.evaluation
            plans = plans_for_random_places(run, name, sets) if policy is Policy.RANDOM_PLACEMENT else ()
            decode = functools.partial(_decode, run, stage, policy, plans)
            traces = run.experiment.evaluation.traces if student is not None else 0
            _answer(run, stage, name, step, policy.value, sets, decode, traces)
    # Sweeps compare trained students, so the objective is not logged before GRPO.
    budget = None if name in (BASE, WARMUP) else run.experiment.evaluation.call_ratio_budget
    publish_evaluation(run.directory, run.tracker, stage, budget)


def _answer(
    run: Run,
    stage: str,
    name: str,
    step: int,
    policy: PolicyName,
    sets: Sequence[EvaluationSet],
    decode: Decode,
    traces_kept: int,
) -> None:
    """Do one evaluation stage. Everything is computed before anything is written, and the done marker comes last."""
    grammar = CommandGrammar(TransformersTokenizer(run.prompts.student_tokenizer))
    started = time.perf_counter()
    orders = _collect(sets, f"evaluate {name}: {policy}", decode)
    seconds = time.perf_counter() - started
    tables: list[AnswerTable] = []
    traces: list[Trace] = []
    for first, order in sorted(orders, key=lambda found: found[0]):
        batch: TrajectoryBatch = ray.get(order.batch)
        tables.append(answer_table(order.problems, first, batch, order.graded, grammar))
        if len(traces) < traces_kept:
            traces += _traces(order, batch, grammar, name, step, policy)
    table = AnswerTable.joined(tables)
    check_failed_calls(table, f"evaluate {name}: {policy}", run.experiment.evaluation.max_failed_call_share)
    rows = [_row(run, name, step, policy, kind, table) for kind in [*sorted(set(table.kind.tolist())), ALL]]
    folder = f"stages/{stage}"
    run.directory.write_bytes(f"{folder}/{ANSWERS}", table.to_bytes())
    run.directory.write_text(traces_file(stage), trace_lines(traces[:traces_kept]))
    run.directory.mark_done(
        stage,
        {"problems": table.problems, "seconds": round(seconds, 3), ROWS: [asdict(row) for row in rows]},
    )


def _row(run: Run, name: str, step: int, policy: PolicyName, kind: str, table: AnswerTable) -> Evaluation:
    answers = table if kind == ALL else table.of_kind(kind)
    oracle = None
    if all(isinstance(source, ChainArithmeticSource) for source in run.experiment.data.evaluation):
        oracle = oracle_cost(
            answers.question.tolist(),
            run.command_tokens,
            _knowledge("student", run.experiment.models.student),
            _knowledge("teacher", run.experiment.models.teacher),
        )
    return evaluation_of(
        answers,
        name=name,
        step=step,
        policy=policy,
        kind=kind,
        oracle_call_ratio=oracle.call_ratio if oracle else None,
        oracle_accuracy=oracle.accuracy if oracle else None,
    )


def _knowledge(role: Role, settings: ModelSettings) -> Knowledge:
    """Return what a model was pretrained to know. A model that was not pretrained here counts as its role's default."""
    return knowledge_of(role, settings.pretrain.skill if settings.pretrain else None)


def _collect(sets: Sequence[EvaluationSet], label: str, decode: Decode) -> list[tuple[int, GradedOrder]]:
    """Return all orders, each with the number of its first problem, counted through all sets."""
    orders = []
    problems_before = answers_before = 0
    answers = sum(found.answers for found in sets)
    with Progress(answers, label, sequences=1) as progress:
        for found in sets:
            for order in decode(found, answers_before):
                orders.append((problems_before + order.first, order))
                progress.update(len(order.problems) * found.samples_per_problem)
            problems_before += len(found.problems)
            answers_before += found.answers
    return orders


def _decode(
    run: Run, stage: str, policy: Policy, plans: Sequence[Plan], found: EvaluationSet, before: int
) -> Iterator[GradedOrder]:
    settings = run.experiment.evaluation
    sampling = found.sampling or settings.sampling
    # When the teacher answers alone, it samples as the student does. On call it samples as in training.
    teacher_sampling = sampling if policy is Policy.TEACHER else run.experiment.teacher.sampling
    size = max(_ANSWERS_PER_ORDER // found.samples_per_problem, 1)
    draws = f"{stage}/{before}"
    decoding = RolloutDecoding(
        policy,
        found.samples_per_problem,
        settings.limits,
        sampling,
        teacher_sampling,
        draws,
        problems_per_order=size,
        plans=plans[before : before + found.answers],
    )
    return decode_and_grade(run.decoding_actors(), found.problems, decoding)


def _decode_routed(
    run: Run, stage: str, router: Path, threshold: float, found: EvaluationSet, before: int
) -> Iterator[GradedOrder]:
    settings = run.experiment.evaluation
    sampling = found.sampling or settings.sampling
    from pipelines.stages.citer import decode_routed

    return decode_routed(
        run,
        found.problems,
        router,
        threshold,
        draws=f"{stage}/{before}",
        limits=settings.limits,
        sampling=sampling,
        samples_per_problem=found.samples_per_problem,
    )


def _traces(
    order: GradedOrder, batch: TrajectoryBatch, grammar: CommandGrammar, name: str, step: int, policy: PolicyName
) -> list[Trace]:
    """Return the trace of the first answer to each problem."""
    rows = zip(itertools.count(step=order.graded.group_size), order.problems, strict=False)
    return [
        trace_of(batch[i], problem, bool(order.graded.correct[i]), grammar, name, step, policy) for i, problem in rows
    ]
