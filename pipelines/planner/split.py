"""Proposes how many GPUs rollout, teacher and learner get, by estimating all splits and simulating the best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from pipelines.experiment.errors import ConfigError
from pipelines.experiment.schema import Experiment
from pipelines.memory.model_size import ModelSize
from pipelines.planner.hardware import Gpu, Reached
from pipelines.planner.memory import fits
from pipelines.planner.rates import Rates, sheet_rates
from pipelines.planner.shapes import Shape
from pipelines.planner.simulation import Layout, Predicted, learn_seconds, simulate

_SIMULATED = 5
_SAMPLE = 1024
"""answers of the quick estimate"""


@dataclass(frozen=True, slots=True)
class Split:
    """One way to divide the GPUs, and what the simulation says about it."""

    layout: Layout
    rates: Rates
    student_gpus: int
    teacher_gpus: int
    learner_gpus: int
    predicted: Predicted


def layout_of(experiment: Experiment) -> Layout:
    """Return the actors and the step of an experiment as it is written."""
    grpo = experiment.grpo
    return Layout(
        workers=experiment.rollout.workers,
        teachers=experiment.teacher.replicas,
        ranks=experiment.learner.ranks,
        prompts=grpo.prompts_per_step,
        group_size=grpo.group_size,
        mini_batches=grpo.mini_batches,
        grading_workers=experiment.grading.workers,
        async_depth=grpo.async_depth,
        student_sequences=experiment.rollout.engine.max_num_seqs,
        teacher_sequences=experiment.teacher.engine.max_num_seqs,
    )


def best_split(
    experiment: Experiment,
    student: ModelSize,
    teacher: ModelSize,
    gpu: Gpu,
    gpus: int,
    shapes: Sequence[Shape],
    reached: Reached,
) -> Split:
    """Return the split of `gpus` with the shortest simulated step. Raises `ConfigError` if none fits."""
    candidates = sorted(
        _candidates(experiment, student, teacher, gpu, gpus, shapes, reached),
        key=lambda found: _estimate(found[0], found[1], shapes),
    )
    if not candidates:
        raise ConfigError(
            [f"--gpus {gpus} --gpu {gpu.name}: the actors fit in no split of these; take more or larger GPUs"]
        )
    splits = [_simulated(*candidate, shapes) for candidate in candidates[:_SIMULATED]]
    return min(splits, key=lambda split: split.predicted.step_s)


def _candidates(
    experiment: Experiment,
    student: ModelSize,
    teacher: ModelSize,
    gpu: Gpu,
    gpus: int,
    shapes: Sequence[Shape],
    reached: Reached,
) -> Iterator[tuple[Layout, Rates, int, int]]:
    """Yield the splits whose actors fit: powers of two for ranks and teachers, and rollout workers on all other GPUs."""
    for_student, for_teacher = experiment.rollout.engine.tensor_parallel, experiment.teacher.engine.tensor_parallel
    context = fmean(shape.tokens for shape in shapes) / 2
    for ranks in _powers(gpus):
        changed = experiment.model_copy(update={"learner": experiment.learner.model_copy(update={"ranks": ranks})})
        if not fits(changed, gpu):
            continue
        rates = sheet_rates(changed, student, teacher, gpu, context, reached)
        for teachers in _powers(gpus):
            workers = (gpus - ranks - teachers * for_teacher) // for_student
            if workers >= 1:
                layout = replace(layout_of(experiment), ranks=ranks, teachers=teachers, workers=workers)
                yield layout, rates, for_student, for_teacher


def _powers(most: int) -> Iterator[int]:
    power = 1
    while power <= most:
        yield power
        power *= 2


def _estimate(layout: Layout, rates: Rates, shapes: Sequence[Shape]) -> float:
    """Return about how long a step takes, without simulating it."""
    answers = layout.prompts * layout.group_size
    sample = list(shapes[:_SAMPLE])
    scaled = [sample[i % len(sample)] for i in range(answers)]
    at_once = max(1, min(layout.student_sequences, answers // layout.workers))
    student = sum(one.student for one in scaled) / layout.workers / at_once * rates.student.step(at_once)
    calls = max(1, min(layout.teacher_sequences, answers // (4 * layout.teachers)))
    written = sum(one.teacher for one in scaled) / layout.teachers / calls * rates.teacher.step(calls)
    read = sum(call.read for one in scaled for call in one.calls) / layout.teachers * rates.teacher.prefill_s
    longest = max(one.student for one in scaled) * rates.student.step(1)
    rollout = max(student, longest, written + read)
    learn = learn_seconds(layout, rates, scaled)
    return max(rollout, learn) if layout.async_depth else rollout + learn


def _simulated(layout: Layout, rates: Rates, for_student: int, for_teacher: int, shapes: Sequence[Shape]) -> Split:
    predicted = simulate(layout, rates, shapes, steps=3)
    return Split(layout, rates, layout.workers * for_student, layout.teachers * for_teacher, layout.ranks, predicted)
