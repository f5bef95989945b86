"""The CITER baseline (arXiv 2502.01976): the token router's training, and decoding with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from numpy.typing import NDArray

from actors.citer.actor import CiterOrder
from actors.citer.fitting import RouterFit
from actors.citer.labels import Label, LabelledTokens, Reference, chosen_for_rollout
from actors.relay.handoff import RelayPrompt
from actors.relay.seeds import derived_seed
from actors.rollout import Policy
from actors.settings import RelayLimits, SamplingSettings
from actors.trajectory import TrajectoryBatch, UInt8
from cluster.deadlines import ROLLOUT_DEADLINE, results
from cluster.errors import RunError
from pipelines.data.problem import Problem
from pipelines.experiment.stage_names import CITER
from pipelines.rollout.decode_and_grade import GradedOrder, RolloutDecoding, decode_and_grade
from pipelines.rollout.pool import RolloutPool
from pipelines.run import Run
from pipelines.stages.publishing import log_step, publish_steps
from pipelines.terminal.progress import Progress

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_PROBLEMS_PER_ORDER = 32


class CiterError(RunError):
    """The baseline cannot be trained or used; the message says why."""


def train_router(run: Run, problems: Sequence[Problem]) -> Path:
    """Train the base student's token router, unless that is done, and return its folder.

    Labels come from the teacher's own right solutions to the first `citer.problems` problems. Raises `CiterError` if
    there are too few.
    """
    with run.directory.stage(CITER) as left:
        if left:
            _train(run, *_references(run, problems[: run.experiment.citer.problems]))
    publish_steps(run.directory, run.tracker, CITER)
    return run.directory.stage_dir(CITER) / str(run.directory.summary(CITER)["router"])


@dataclass(frozen=True, slots=True)
class RoutedDecoding:
    """How the routed pair decodes; calls are not bounded, since nobody issues commands."""

    router: Path | None
    threshold: float
    samples_per_problem: int
    limits: RelayLimits
    sampling: SamplingSettings
    teacher_sampling: SamplingSettings
    seed: int
    """the run's seed: CITER always draws from it, also where engines draw without seeds"""
    draws: str
    begun: Sequence[tuple[int, ...]]
    problems_per_order: int = _PROBLEMS_PER_ORDER

    def order(self, prompts: tuple[RelayPrompt, ...], first: int, seed: int | None) -> CiterOrder:
        """See `Decoding.order`."""
        return CiterOrder(
            prompts=prompts,
            samples=self.samples_per_problem,
            router=None if self.router is None else str(self.router),
            threshold=self.threshold,
            sampling=self.sampling,
            teacher_sampling=self.teacher_sampling,
            max_new_tokens=self.limits.max_new_tokens,
            teacher_timeout_s=self.limits.teacher_timeout_s,
            seed=derived_seed(self.seed, self.draws, first),
            begun=tuple(self.begun[first : first + len(prompts)]),
        )


def decode_routed(
    run: Run,
    problems: Sequence[Problem],
    router: Path | None,
    threshold: float,
    *,
    draws: str,
    limits: RelayLimits,
    sampling: SamplingSettings,
    samples_per_problem: int = 1,
    begun: Sequence[tuple[int, ...]] = (),
) -> Iterator[GradedOrder]:
    """Yield all problems, in portions that the routed pair has decoded and the reward actor has graded, as they finish.

    `draws` names this decoding within the run, as in `RolloutDecoding`. Limits on calls have no effect, since there are no
    commands. `begun`, if given, is the output that each problem's answers begin with. Raises `RolloutError`.
    """
    settings = run.experiment
    # Two orders at least, so that no slot stands empty at the end of one.
    at_once = 2 * max(settings.citer.max_sequences, _PROBLEMS_PER_ORDER * samples_per_problem)
    pool = RolloutPool([_actor(run)], at_once, settings.rollout.deadline_s, name="citer")
    teacher_sampling = settings.teacher.sampling
    decoding = RoutedDecoding(
        router, threshold, samples_per_problem, limits, sampling, teacher_sampling, settings.seed, draws, begun
    )
    return decode_and_grade(replace(run.decoding_actors(), pool=pool), problems, decoding)


def _references(run: Run, problems: Sequence[Problem]) -> tuple[list[Problem], list[Reference]]:
    """Return the problems that the teacher solves, in order, and its solutions. Raises `CiterError` if too few are."""
    sampling = run.experiment.citer.reference_sampling
    decoding = RolloutDecoding(
        Policy.TEACHER, 1, run.experiment.grpo.limits, sampling, sampling, CITER, problems_per_order=_PROBLEMS_PER_ORDER
    )
    solutions: dict[Problem, tuple[int, ...]] = {}
    with Progress(len(problems), "CITER: reference solutions") as progress:
        for order in decode_and_grade(run.decoding_actors(), problems, decoding):
            batch: TrajectoryBatch = ray.get(order.batch)
            for problem, trajectory, correct in zip(order.problems, batch, order.graded.correct, strict=True):
                if correct:
                    solutions[problem] = tuple(trajectory.token_ids.tolist())
            progress.update(len(order.problems))
    solved = [problem for problem in dict.fromkeys(problems) if problem in solutions]
    if len(solved) < 2:
        raise CiterError(
            f"the teacher solved {len(solved)} of {len(problems)} problems, and the router needs at least 2 solutions to "
            "learn from: raise citer.problems, or check the teacher's accuracy"
        )
    prompts = run.prompts.prompts(solved)
    return solved, [Reference(prompt, solutions[problem]) for problem, prompt in zip(solved, prompts, strict=True)]


def _train(run: Run, problems: Sequence[Problem], references: Sequence[Reference]) -> None:
    """Label tokens and train the router, in rounds: first with rollouts of the student alone, then of the routed pair."""
    settings, deadline_s = run.experiment.citer, run.experiment.rollout.deadline_s
    citer = _actor(run)
    timeout_s = run.experiment.grpo.limits.teacher_timeout_s
    tokens: LabelledTokens = results(
        citer.label.remote(tuple(references), timeout_s), "labelling CITER's tokens", deadline_s, ROLLOUT_DEADLINE
    )
    chosen = chosen_for_rollout(tokens.label, settings.max_rollouts_per_round, run.experiment.seed)
    shared = ray.put(tokens)
    rounds = settings.rounds if len(chosen) else 1  # without rollouts a second round would repeat the first
    router: Path | None = None
    with Progress(rounds, "CITER: rounds of training") as progress:
        for number in range(1, rounds + 1):
            label = tokens.label.copy()
            label[chosen] = _labels_by_rollout(run, problems, references, tokens, chosen, router)
            router = run.directory.stage_dir(CITER) / f"router-{number}"
            fitting = citer.fit.remote(shared, label, settings.router, run.experiment.seed, str(router))
            fit: RouterFit = results(fitting, "training CITER's router", deadline_s, ROLLOUT_DEADLINE)
            log_step(run.directory, run.tracker, CITER, number, _metrics(label, len(references), len(chosen), fit))
            progress.update(1, accuracy=fit.validation_accuracy)
    run.directory.mark_done(CITER, {"router": f"router-{rounds}", "rounds": rounds, "references": len(references)})


def _labels_by_rollout(
    run: Run,
    problems: Sequence[Problem],
    references: Sequence[Reference],
    tokens: LabelledTokens,
    rows: NDArray[np.int64],
    router: Path | None,
) -> UInt8:
    """Return the label of each row: `STUDENT` if an answer that goes on from the student's choice is right."""
    orders = decode_routed(
        run,
        [problems[tokens.solution[row]] for row in rows],
        router,
        run.experiment.citer.rollout_threshold,
        draws=f"{CITER}/{router.name if router else 'alone'}",
        limits=run.experiment.grpo.limits,
        sampling=SamplingSettings(temperature=0.0),
        begun=[tokens.begun(int(row), references) for row in rows],
    )
    label = np.empty(len(rows), np.uint8)
    for order in orders:
        correct = order.graded.correct
        label[order.first : order.first + len(correct)] = np.where(correct, Label.STUDENT, Label.TEACHER)
    return label


def _metrics(label: UInt8, references: int, rollouts: int, fit: RouterFit) -> dict[str, float]:
    labelled = label != Label.UNDECIDED
    values = {
        "references": references,
        "labelled_tokens": int(labelled.sum()),
        "unlabelled_tokens": int((~labelled).sum()),
        "student_share": float((label[labelled] == Label.STUDENT).mean()) if labelled.any() else 0.0,
        "rollouts": rollouts,
        **asdict(fit),
    }
    return {f"{CITER}/{name}": value for name, value in values.items()}


def _actor(run: Run) -> ActorHandle[Any]:
    citer = run.actors().citer
    if citer is None:
        raise CiterError("the run has no CITER actor: set citer.enabled to true")
    return citer
