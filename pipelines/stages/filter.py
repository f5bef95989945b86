"""The data filter: keep the training problems that the teacher can solve (paper section 3.1)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from random import Random
from statistics import fmean

from actors.rollout import Policy
from cluster.errors import RunError
from pipelines.data.problem import Problem
from pipelines.experiment.stage_names import FILTER
from pipelines.rollout.decode_and_grade import RolloutDecoding, decode_and_grade
from pipelines.run import Run
from pipelines.stages.publishing import log_step, publish_steps
from pipelines.terminal.progress import Progress

_PROBLEMS = f"stages/{FILTER}/problems.jsonl"


class FilterError(RunError):
    """The filter left nothing to train on."""


def filter_problems(run: Run) -> list[Problem]:
    """Return the problems to train on, filtered if `Experiment.filters` says so. Raises `FilterError` if none is left.

    The run's seed shuffles them. So a stage that takes the first N gets a random sample, not the head of a sorted file.
    """
    if not run.experiment.filters:
        return shuffled(run.problems.train.problems, run.experiment.seed)
    with run.directory.stage(FILTER) as left:
        if left:
            _filter(run, run.problems.train.problems)
    publish_steps(run.directory, run.tracker, FILTER)
    kept = [Problem(**row) for row in run.directory.read_jsonl(_PROBLEMS)]  # type: ignore[arg-type]
    return shuffled(kept, run.experiment.seed)


def shuffled(problems: Sequence[Problem], seed: int) -> list[Problem]:
    """Return the problems in the order that the seed draws."""
    return Random(f"{seed}/problems").sample(problems, len(problems))


def _filter(run: Run, problems: Sequence[Problem]) -> None:
    settings, limits = run.experiment.filter, run.experiment.grpo.limits
    decoding = RolloutDecoding(
        Policy.TEACHER, settings.samples, limits, settings.sampling, settings.sampling, FILTER, problems_per_order=16
    )
    kept: dict[int, Problem] = {}
    kept_rates: list[float] = []
    with Progress(len(problems), "filter", sequences=settings.samples) as progress:
        for order in decode_and_grade(run.decoding_actors(), problems, decoding):
            rates = order.graded.correct.reshape(-1, settings.samples).mean(axis=1)
            numbered = zip(range(order.first, order.first + len(rates)), order.problems, rates, strict=True)
            kept |= {number: problem for number, problem, rate in numbered if rate >= settings.min_pass_rate}
            kept_rates += [float(rate) for rate in rates if rate >= settings.min_pass_rate]
            progress.update(len(order.problems), kept=len(kept))
    if not kept:
        raise FilterError(
            f"the teacher's pass rate is below filter.min_pass_rate ({settings.min_pass_rate}) on all {len(problems)} "
            "training problems: check the teacher, or lower this limit"
        )
    in_order = (kept[number] for number in sorted(kept))
    run.directory.write_text(_PROBLEMS, "".join(json.dumps(asdict(problem)) + "\n" for problem in in_order))
    found = {"problems": len(problems), "kept": len(kept), "kept_pass_rate": fmean(kept_rates)}
    log_step(run.directory, run.tracker, FILTER, 0, {f"filter/{name}": value for name, value in found.items()})
    run.directory.mark_done(FILTER, found)
