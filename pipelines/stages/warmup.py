"""Supervised warm-up: the student learns the command's syntax from its own samples (paper section 2.2)."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import ray

from actors.learner.batches import TokenSequences
from actors.rollout import Policy
from actors.trajectory import TrajectoryBatch
from pipelines.data.problem import Problem
from pipelines.data.sources import ProblemSets
from pipelines.experiment.stage_names import WARMUP
from pipelines.rollout.decode_and_grade import RolloutDecoding, decode_and_grade
from pipelines.run import MODEL, Run
from pipelines.stages.command_insertion import insert_commands
from pipelines.stages.export import export_student
from pipelines.stages.filter import shuffled
from pipelines.stages.publishing import log_step, publish_steps
from pipelines.terminal.progress import Progress

_STEPS_PER_CALL = 20


def warm_up(run: Run, problems: list[Problem]) -> None:
    """Train the student on its own samples with inserted commands, unless that is done or disabled.

    `problems` are the training problems.
    """
    if not run.experiment.warmup.enabled:
        return
    with run.directory.stage(WARMUP) as left:
        if left:
            _train(run, warmup_problems(run.problems, problems, run.experiment.seed))
    publish_steps(run.directory, run.tracker, WARMUP)


def warmup_problems(sets: ProblemSets, training: list[Problem], seed: int) -> list[Problem]:
    """Return the problems of `data.warmup`, shuffled by the seed; the training problems if it names no source."""
    given = [problem for found in sets.warmup for problem in found.problems]
    return shuffled(given, seed) if sets.warmup else training


def _train(run: Run, problems: list[Problem]) -> None:
    settings = run.experiment.warmup
    run.actors().use_student(run.models.student)
    random = Random(f"{run.experiment.seed}/warmup")
    row_count = settings.samples * settings.copies
    steps_per_epoch = -(-row_count // settings.rows_per_step)
    total_steps = settings.epochs * steps_per_epoch
    rows = ray.put(_rows(run, problems, random))
    plan = _plan(row_count, settings.rows_per_step, settings.epochs, run.experiment.seed)
    with run.actors().learning(), Progress(total_steps, "warm-up") as progress:
        learner = run.actors().learner
        learner.load(run.models.student, settings.optimizer, total_steps=total_steps, seed=run.experiment.seed)
        for first in range(0, total_steps, _STEPS_PER_CALL):
            steps = plan[first : first + _STEPS_PER_CALL]
            taken = learner.sft_steps(rows, steps)
            for step, found in enumerate(taken, start=first + 1):
                metrics = {
                    "learner/loss": found.loss,
                    "learner/grad_norm": found.grad_norm,
                    "learner/lr": found.lr,
                    "learner/non_finite_steps": found.non_finite_steps,
                }
                log_step(run.directory, run.tracker, WARMUP, step, metrics)
            progress.update(len(steps), loss=taken[-1].loss)
    export_student(run, run.directory.stage_dir(WARMUP) / MODEL)
    run.directory.mark_done(WARMUP, {"samples": settings.samples, "steps": total_steps})


def _rows(run: Run, problems: list[Problem], random: Random) -> TokenSequences:
    """Return `samples` x `copies` rows of prompt and own answer with commands; the loss is on the answer."""
    settings = run.experiment.warmup
    decoding = RolloutDecoding(
        Policy.STUDENT,
        1,
        run.experiment.grpo.limits,
        settings.sampling,
        settings.sampling,
        WARMUP,
        problems_per_order=16,
    )
    chosen = list(itertools.islice(itertools.cycle(problems), settings.samples))
    samples: list[tuple[list[int], list[int]]] = []
    with Progress(len(chosen), "own samples", sequences=1) as progress:
        for order in decode_and_grade(run.decoding_actors(), chosen, decoding):
            batch: TrajectoryBatch = ray.get(order.batch)
            samples += [(row.prompt_ids.tolist(), row.token_ids.tolist()) for row in batch]
            progress.update(len(batch))
    samples.sort()
    encode = run.prompts.student.encode
    rows = [row for row in samples for _ in range(settings.copies)]
    answers = [insert_commands(answer, settings, encode, random) for _, answer in rows]
    return TokenSequences.of_prompts_and_targets([prompt for prompt, _ in rows], answers)


def _plan(rows: int, rows_per_step: int, epochs: int, seed: int) -> list[np.ndarray]:
    """Return the rows of each optimizer step. Every epoch has a new order."""
    steps: list[np.ndarray] = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(rows)
        steps += [order[start : start + rows_per_step] for start in range(0, rows, rows_per_step)]
    return steps
