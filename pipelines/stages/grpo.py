"""GRPO with relayed rollouts: decode, grade, learn, sync (paper section 2.3)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from actors.learner.batches import GrpoStep
from actors.learner.group import PendingCall
from actors.learner.metrics import GrpoMetrics
from actors.relay.seeds import derived_seed
from actors.rollout import Policy
from cluster.task_names import at_step
from pipelines.data.problem import Problem
from pipelines.experiment.stage_names import GRPO, evaluated_steps
from pipelines.memory.actors import memory_metrics
from pipelines.records.reward_metrics import summarise
from pipelines.rollout.decode_and_grade import GradedStream, RolloutDecoding
from pipelines.rollout.group_supply import GroupSupply, StepGroups
from pipelines.rollout.teacher_outage import TeacherOutage
from pipelines.run import MODEL, Run
from pipelines.stages.alarm_policy import RollBackNeeded, heed, roll_back
from pipelines.stages.checkpoints import load_learner, save
from pipelines.stages.evaluate import discard_within_grpo, evaluate_within_grpo, publish_within_grpo
from pipelines.stages.export import export_student
from pipelines.stages.publishing import log_step, publish_steps
from pipelines.terminal.progress import Progress
from pipelines.wording import percent

_SPEEDS = ("tokens_per_s", "seconds")


def grpo(run: Run, problems: list[Problem]) -> None:
    """Train the student, unless that is done or disabled. Training goes on from the newest checkpoint, if there is one."""
    if not run.experiment.grpo.enabled:
        return
    with run.directory.stage(GRPO) as left:
        if left:
            _train(run, problems)
    publish_steps(run.directory, run.tracker, GRPO)
    publish_within_grpo(run)


def _train(run: Run, problems: list[Problem]) -> None:
    while True:
        try:
            return _train_from_checkpoint(run, problems)
        except RollBackNeeded as needed:
            roll_back(run.directory, run.experiment.grpo, needed.alarm, needed.cursor)


def _train_from_checkpoint(run: Run, problems: list[Problem]) -> None:
    settings, total = run.experiment.grpo, run.experiment.grpo_steps
    assert settings.epochs is None, "the driver turns epochs into steps when the filter is done"
    first, cursor = load_learner(run, total)
    discard_within_grpo(run, first)
    clock = PhaseClock()
    per_step = settings.prompts_per_step * settings.group_size
    with (
        Progress(total, "GRPO", done=first, sequences=per_step) as progress,
        closing(_stream(run)) as stream,
    ):
        supply = GroupSupply(
            stream,
            problems,
            cursor,
            seed=run.experiment.seed,
            steps=total - first,
            per_step=settings.prompts_per_step,
            extra=settings.extra_prompts,
            max_staleness=settings.max_staleness,
            spoilt=TeacherOutage(settings.teacher_outage_s).spoilt,
        )
        ahead: StepGroups | None = None
        for step in range(first, total):
            with at_step(step + 1):
                groups = ahead or _roll_out(run, supply)
                clock.seconds["rollout"] = groups.seconds
                with run.actors().learning(clock.phase):
                    if settings.async_depth and step + 1 < total:
                        learned, ahead = _learn_and_roll_out(run, step + 2, groups, supply, clock)
                    else:
                        learned, ahead = _learn(run, groups, clock), None
                    supply.learned(groups)
                    with clock.phase("sync"):
                        run.actors().sync_weights()
                if step + 1 in evaluated_steps(run.experiment):
                    with clock.phase("evaluate"):
                        evaluate_within_grpo(run, step + 1)
                metrics = _metrics(groups, learned, clock) | memory_metrics(run.experiment, run.actors().rollout.absent)
                if not run.experiment.grpo.loss.kl_coefficient:
                    metrics.pop("learner/kl", None)  # it is measured only if it is in the loss
                heed(settings.on_alarm, log_step(run.directory, run.tracker, GRPO, step + 1, metrics), supply.cursor)
                clock = PhaseClock()
                # Save after the log. A resumed run does not repeat steps before a checkpoint, so they have to be logged by then.
                if (step + 1) % settings.checkpoint_every == 0:
                    with clock.phase("checkpoint"):
                        save(run, step + 1, supply.cursor)
            progress.update(
                1, accuracy=percent(metrics["rollout/accuracy"]), calls=percent(metrics["rollout/call_ratio"])
            )
    export_student(run, run.directory.stage_dir(GRPO) / MODEL)
    run.directory.mark_done(GRPO, {"steps": total})


class PhaseClock:
    """Wall time of the phases of one step."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started

    def metrics(self) -> dict[str, float]:
        """Return `time/<phase>_s` of each phase, and of the step so far."""
        phases = {f"time/{name}_s": seconds for name, seconds in self.seconds.items()}
        return phases | {"time/step_s": time.perf_counter() - self._started}


def _stream(run: Run) -> GradedStream:
    settings = run.experiment.grpo
    decoding = RolloutDecoding(
        policy=Policy.RELAY if settings.limits.max_calls else Policy.STUDENT,
        samples_per_problem=settings.group_size,
        limits=settings.limits,
        sampling=settings.sampling,
        teacher_sampling=run.experiment.teacher.sampling,
        draws=GRPO,
        want_logprobs=True,
    )
    return GradedStream(run.decoding_actors(), decoding)


def _roll_out(run: Run, supply: GroupSupply) -> StepGroups:
    supply.order()
    return supply.take(run.actors().rollout.version)


def _learn(run: Run, step: StepGroups, clock: PhaseClock) -> GrpoMetrics:
    with clock.phase("learn"):
        return _start_learning(run, step).result()


def mini_batches(groups: int, group_size: int, parts: int, seed: int) -> list[NDArray[np.int64]]:
    """Return the rows of each mini-batch. Groups stay whole. The seed draws them, not the order in which they finished."""
    drawn = np.random.default_rng(seed).permutation(groups)
    return [(part[:, None] * group_size + np.arange(group_size)).ravel() for part in np.array_split(drawn, parts)]


def _learn_and_roll_out(
    run: Run, following: int, step: StepGroups, supply: GroupSupply, clock: PhaseClock
) -> tuple[GrpoMetrics, StepGroups]:
    """Learn from one step's groups. Meanwhile the groups of the `following` step are decoded by the policy before this step."""
    started = time.perf_counter()
    learning = _start_learning(run, step)
    with at_step(following):
        supply.order()
    ahead = supply.take(run.actors().rollout.version + 1)
    rolled_out_s = time.perf_counter() - started
    learned = learning.result()
    clock.seconds["learn"] = learned.seconds
    clock.seconds["wait"] = max(rolled_out_s - learned.seconds, 0.0)
    return learned, ahead


def _start_learning(run: Run, step: StepGroups) -> PendingCall[GrpoMetrics]:
    settings, groups = run.experiment.grpo, step.groups
    seed = derived_seed(run.experiment.seed, "mini-batches", *(group.first for group in groups))
    return run.actors().learner.start_grpo_step(
        [group.batch for group in groups],
        GrpoStep(
            advantages=np.concatenate([group.graded.advantage for group in groups]),
            trainable=np.concatenate([group.graded.trainable for group in groups]),
            minibatches=mini_batches(len(groups), settings.group_size, settings.mini_batches, seed),
            loss=settings.loss,
            temperature=settings.sampling.temperature,
            version=run.actors().rollout.version,
        ),
    )


def _metrics(step: StepGroups, learned: GrpoMetrics, clock: PhaseClock) -> dict[str, float]:
    graded = [group.graded for group in step.groups]
    output_tokens = sum(int(columns.output_tokens.sum()) for columns in graded)
    teacher_tokens = sum(int(columns.teacher_tokens.sum()) for columns in graded)
    rollout_s = clock.seconds["rollout"]
    return {
        **summarise(graded),
        "rollout/late_groups": step.late,
        "rollout/groups_again": step.again,
        **{f"learner/{name}": value for name, value in asdict(learned).items() if name not in _SPEEDS},
        "speed/learner_tokens_per_s": learned.tokens_per_s,
        "speed/rollout_tokens_per_s": output_tokens / rollout_s,
        "speed/student_tokens_per_s": (output_tokens - teacher_tokens) / rollout_s,
        "speed/teacher_tokens_per_s": teacher_tokens / rollout_s,
        **clock.metrics(),
    }
