"""The data filter: keep the training problems that the teacher can solve (paper section 3.1)."""

from __future__ import annotations

import json
from dataclasses import asdict

from actors.rollout import Policy
from pipelines.problems import Problem
from pipelines.progress import Progress
from pipelines.publishing import log_step, publish_steps
from pipelines.rollouts import Decoding, decode_and_grade
from pipelines.run import Run
from pipelines.stage_names import FILTER

_PROBLEMS = f"stages/{FILTER}/problems.jsonl"


class FilterError(RuntimeError):
    """The filter left nothing to train on."""


def training_problems(run: Run) -> list[Problem]:
    """Return the problems to train on, filtered if a stage is enabled that uses them. Raises `FilterError`."""
    if not run.experiment.filters:
        return run.problems.train
    with run.directory.stage(FILTER) as left:
        if left:
            _filter(run, run.problems.train)
    publish_steps(run.directory, run.tracker, FILTER)
    return [Problem(**row) for row in run.directory.read_jsonl(_PROBLEMS)]  # type: ignore[arg-type]


def _filter(run: Run, problems: list[Problem]) -> None:
    settings, limits = run.experiment.filter, run.experiment.grpo.limits
    decoding = Decoding(
        Policy.TEACHER, settings.samples, limits, settings.sampling, settings.sampling, problems_per_order=16
    )
    kept: list[Problem] = []
    with Progress(len(problems), "filter") as progress:
        for order in decode_and_grade(run, problems, decoding):
            rates = order.graded.correct.reshape(-1, settings.samples).mean(axis=1)
            kept += [
                problem for problem, rate in zip(order.problems, rates, strict=True) if rate >= settings.min_pass_rate
            ]
            progress.update(len(order.problems), kept=len(kept))
    if not kept:
        raise FilterError(
            f"the teacher's pass rate is below filter.min_pass_rate ({settings.min_pass_rate}) on all {len(problems)} "
            "training problems: check the teacher, or lower it"
        )
    kept.sort(key=lambda problem: problem.question)
    run.directory.write_text(_PROBLEMS, "".join(json.dumps(asdict(problem)) + "\n" for problem in kept))
    shares = {"problems": len(problems), "kept": len(kept)}
    log_step(run.directory, run.tracker, FILTER, 0, {f"filter/{name}": value for name, value in shares.items()})
    run.directory.mark_done(FILTER, shares)
