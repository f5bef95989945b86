"""Checks a study's systems against the experiments of its runs. Every problem is one line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.experiment.errors import problem
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_names import BASE, CITER, FINAL, WARMUP, citer_policy, evaluation_stage


@dataclass(frozen=True, slots=True)
class Place:
    """Where a system's answers are: one policy of one evaluation of one run."""

    run: str
    evaluation: str
    policy: str

    @property
    def stage(self) -> str:
        return evaluation_stage(self.evaluation, self.policy)

    def __str__(self) -> str:
        return f"{self.run}/{self.evaluation}/{self.policy}"


def check_systems(
    file: Path, systems: Mapping[str, Place], runs: Collection[str], experiments: Mapping[str, Experiment]
) -> list[str]:
    """Return a problem for each system that its run does not evaluate. Runs without an experiment here are not checked."""
    problems = []
    for system, place in systems.items():
        if place.run not in runs:
            right = f"there is no run {place.run!r}; {_nearest(place.run, runs)}"
        elif place.run in experiments and (
            f"{place.evaluation}/{place.policy}" not in (there := evaluated(experiments[place.run]))
        ):
            near = _nearest(str(place), [f"{place.run}/{name}" for name in there])
            right = f"the run {place.run!r} does not evaluate that; {near}"
        else:
            continue
        problems.append(problem(str(file), ("systems", system), right, str(place)))
    return problems


def evaluated(experiment: Experiment) -> tuple[str, ...]:
    """Return what a run evaluates on all problems, as evaluation/policy."""
    citer = experiment.citer
    by_name: dict[str, tuple[str, ...]] = {
        BASE: experiment.evaluation.base,
        WARMUP: experiment.evaluated_after_warmup(),
        FINAL: experiment.evaluation.final,
        CITER: tuple(citer_policy(threshold) for threshold in citer.thresholds) if citer.enabled else (),
    }
    return tuple(f"{name}/{policy}" for name, policies in by_name.items() for policy in policies)


def check_names(file: Path, experiments: Mapping[str, Experiment]) -> list[str]:
    """Return a problem for each experiment name that two runs share. Ray finds a run's actors by that name."""
    first: dict[str, str] = {}
    problems = []
    for run, experiment in experiments.items():
        if (other := first.setdefault(experiment.name, run)) != run:
            right = f"the experiments of the runs {other!r} and {run!r} should have different names"
            problems.append(problem(str(file), ("runs", run), right, experiment.name))
    return problems


def check_same_evaluation_data(file: Path, experiments: Mapping[str, Experiment]) -> list[str]:
    """Return a problem for each key of a run's evaluation data that differs from the first run's."""
    problems: list[str] = []
    if not experiments:
        return problems
    first, *others = experiments
    wanted = _evaluation_data(experiments[first])
    for run in others:
        given = _evaluation_data(experiments[run])
        keys = [key for key in {**wanted, **given} if wanted.get(key, "(absent)") != given.get(key, "(absent)")]
        for key in keys:
            right = f"should be {wanted.get(key, '(absent)')!r} as in the run {first!r}: systems are compared on the same data"
            problems.append(problem(str(file), ("runs", run, *key), right, given.get(key, "(absent)")))
    return problems


def kinds_without_problems(
    file: Path, groups: Mapping[str, Sequence[str]], experiments: Mapping[str, Experiment]
) -> list[str]:
    """Return a problem for each kind in `groups` that no run evaluates."""
    sources = [source for experiment in experiments.values() for source in experiment.data.evaluation]
    kinds = list(dict.fromkeys(kind for source in sources for kind in source.kinds))
    return [
        problem(str(file), (group,), f"no run evaluates problems of that kind; {_nearest(kind, kinds)}", kind)
        for group, names in groups.items()
        for kind in names
        if kind not in kinds
    ]


def _evaluation_data(experiment: Experiment) -> dict[tuple[str, ...], object]:
    """Return what decides which questions are asked, key by key."""
    keys: dict[tuple[str, ...], object] = {("data", "prompt_suffix"): experiment.data.prompt_suffix}
    for index, source in enumerate(experiment.data.evaluation):
        keys |= {
            ("data", "evaluation", str(index), key): value for key, value in source.model_dump(mode="json").items()
        }
    return keys


def _nearest(name: str, names: Iterable[str]) -> str:
    there = list(names)
    near = difflib.get_close_matches(name, there, n=1)
    return f"did you mean `{near[0]}`?" if near else f"there are {', '.join(there) or 'none'}"
