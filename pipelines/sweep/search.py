"""Which values the next trial has, and which trials end early: Optuna decides, and keeps all trials in a journal file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.experiment.stage_keys import WITHOUT_EFFECT
from pipelines.records.changes import leaves
from pipelines.records.run_directory import OtherExperimentError
from pipelines.sweep.plan import Sweep, Values, grid_values
from pipelines.sweep.settings import EarlyTerminateSettings, ParameterSettings

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

JOURNAL = "trials.journal"
_NUMBER, _REASON, _SECONDS, _BOUND = "number", "reason", "seconds", "bound"
_MOST_RANDOM_FIRST = 10
"""trials that a bayes search draws at random before it learns from them; fewer in a small sweep"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A trial as the journal has it."""

    number: int
    state: str
    """Optuna's name: RUNNING, COMPLETE, PRUNED, FAIL or WAITING"""
    values: Values
    reason: str
    """why it failed or ended early; a trial that failed without a reason was interrupted"""
    seconds: float


class Asked:
    """A trial that has begun."""

    def __init__(self, trial: optuna.Trial, number: int) -> None:
        self._trial = trial
        self.number = number
        self.values: Values = dict(trial.params)

    def report(self, iteration: int, value: float) -> bool:
        """Note the objective after an iteration, counted from 1, and return whether the trial should end early."""
        self._trial.report(value, iteration)
        return self._trial.should_prune()


class Search:
    """The trials of one sweep. Trials of an earlier session that failed or were interrupted are the first to be given out."""

    def __init__(self, sweep: Sweep) -> None:
        """Open the sweep's journal in its directory. Raises `OtherExperimentError` if it is of a sweep with other settings."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._sweep = sweep
        self._distributions = {key: distribution(found) for key, found in sweep.searched.items()}
        self._study = optuna.create_study(
            storage=_storage(sweep.directory), study_name="sweep", direction="maximize", load_if_exists=True
        )
        begun = self._study.get_trials(deepcopy=False)
        self._study.sampler = sampler(sweep, len(begun))
        self._study.pruner = pruner(sweep.settings.early_terminate)
        self._bind(bool(begun))
        self._again()

    @property
    def left(self) -> bool:
        """Whether there is a trial to begin, or to try again."""
        import optuna

        waiting = self._study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.WAITING])
        return bool(waiting) or len(self.trials()) < self._sweep.trials

    def ask(self) -> Asked | None:
        """Return the next trial; None if all have begun."""
        if not self.left:
            return None
        trial = self._study.ask(self._distributions)
        number = trial.user_attrs.get(_NUMBER)
        if number is None:
            number = max((begun.number for begun in self.trials()), default=-1) + 1
            trial.set_user_attr(_NUMBER, number)
        return Asked(trial, number)

    def finished(self, asked: Asked, value: float, seconds: float) -> None:
        """Record the trial's final objective."""
        asked._trial.set_user_attr(_SECONDS, seconds)
        self._study.tell(asked._trial, value)

    def pruned(self, asked: Asked, reason: str, seconds: float) -> None:
        """Record that the trial was ended early."""
        self._end(asked, "PRUNED", reason, seconds)

    def failed(self, asked: Asked, reason: str, seconds: float) -> None:
        """Record that the trial failed."""
        self._end(asked, "FAIL", reason, seconds)

    def trials(self) -> list[Kept]:
        """Return all trials that have begun, in the order of their numbers. Of one that was tried again, the newest counts."""
        return kept(self._study)

    def _end(self, asked: Asked, state: str, reason: str, seconds: float) -> None:
        import optuna

        asked._trial.set_user_attr(_REASON, reason)
        asked._trial.set_user_attr(_SECONDS, seconds)
        self._study.tell(asked._trial, state=optuna.trial.TrialState[state])

    def _bind(self, begun: bool) -> None:
        """Keep what the results depend on, or compare it with what an earlier session kept."""
        bound = _bound(self._sweep)
        before: Mapping[str, object] = self._study.user_attrs.get(_BOUND, bound)
        changed = [key for key in {**before, **bound} if before.get(key, "(absent)") != bound.get(key, "(absent)")]
        if changed and begun:
            changes = [f"{key}: {before.get(key, '(absent)')} -> {bound.get(key, '(absent)')}" for key in changed]
            raise OtherExperimentError(
                f"{self._sweep.directory} has trials of another sweep; undo these changes, or give another name or --directory:\n"
                + "\n".join(f"  {change}" for change in changes),
                changes,
            )
        self._study.set_user_attr(_BOUND, bound)

    def _again(self) -> None:
        """Give out the trials again that failed, or that were under way when an earlier session ended."""
        import optuna

        states = optuna.trial.TrialState
        for trial in self._study.get_trials(states=[states.RUNNING]):
            self._study.tell(trial.number, state=states.FAIL)
            if _NUMBER not in trial.user_attrs:  # the session ended before the trial had its number
                self._repeat(trial)
        newest = {trial.user_attrs.get(_NUMBER): trial for trial in self._study.get_trials()}
        for number, trial in newest.items():
            if number is not None and trial.state == states.FAIL:
                self._repeat(trial)

    def _repeat(self, trial: optuna.trial.FrozenTrial) -> None:
        import optuna

        again = optuna.create_trial(
            state=optuna.trial.TrialState.WAITING,
            user_attrs={key: trial.user_attrs[key] for key in (_NUMBER,) if key in trial.user_attrs},
            # The grid's sampler keeps the trial's place in the grid in the system attributes.
            system_attrs={**trial.system_attrs, "fixed_params": trial.params},
        )
        self._study.add_trial(again)


def read_trials(directory: Path) -> list[Kept]:
    """Return the trials of a sweep's directory; none if it has none yet. Nothing is written."""
    import optuna

    if not (directory / JOURNAL).exists():
        return []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return kept(optuna.load_study(storage=_storage(directory), study_name="sweep"))


def kept(study: optuna.Study) -> list[Kept]:
    """Return the trials of an Optuna study as `Search.trials` does."""
    newest: dict[int, Kept] = {}
    for trial in study.get_trials(deepcopy=False):
        attributes = trial.user_attrs
        if (number := attributes.get(_NUMBER)) is None:
            continue
        state, reason = trial.state.name, attributes.get(_REASON, "")
        if state == "WAITING":  # it is in the list already, and will be tried again
            continue
        newest[number] = Kept(number, state, dict(trial.params), reason, attributes.get(_SECONDS, 0.0))
    return [newest[number] for number in sorted(newest)]


def distribution(parameter: ParameterSettings) -> BaseDistribution:
    """Return a parameter's values as Optuna has them."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values is not None:
        return CategoricalDistribution(parameter.values)
    assert parameter.min is not None and parameter.max is not None
    if parameter.drawn == "int_uniform":
        return IntDistribution(int(parameter.min), int(parameter.max))
    return FloatDistribution(parameter.min, parameter.max, log="log" in parameter.drawn, step=parameter.q)


def sampler(sweep: Sweep, begun: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's sampler for the sweep's method. With `begun` trials of earlier sessions, it does not draw their values again."""
    from optuna.samplers import GridSampler, RandomSampler, TPESampler

    class Grid(GridSampler):
        """Leaves the end of the sweep to its caller: a sampler can end only what `Study.optimize` runs."""

        def after_trial(self, *_: object) -> None:
            return

    seed = sweep.experiment.seed
    if sweep.settings.method == "grid":
        return Grid({key: grid_values(found) for key, found in sweep.searched.items()}, seed=seed)
    if sweep.settings.method == "random":
        return RandomSampler(seed=seed + begun)
    first = min(_MOST_RANDOM_FIRST, max(sweep.trials // 3, 2))
    return TPESampler(seed=seed + begun, n_startup_trials=first, constant_liar=True)


def pruner(early: EarlyTerminateSettings | None) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner for `early_terminate`.

    What W&B calls hyperband has one bracket: after min_iter, min_iter * eta, ... iterations the best 1/eta of the trials
    that came so far go on. Optuna calls that successive halving.
    """
    from optuna.pruners import NopPruner, SuccessiveHalvingPruner

    if early is None:
        return NopPruner()
    return SuccessiveHalvingPruner(min_resource=early.first, reduction_factor=int(early.eta))


def _storage(directory: Path) -> optuna.storages.JournalStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(directory / JOURNAL)))


def _bound(sweep: Sweep) -> dict[str, object]:
    """Return what the trials' results depend on, by dotted key: the search, and the experiment without its machines."""
    searched = {
        key: found.model_dump(mode="json", exclude_none=True) for key, found in sweep.settings.parameters.items()
    }
    experiment = leaves(sweep.experiment.model_dump(mode="json"))
    left_out = (*WITHOUT_EFFECT, *sweep.settings.parameters)
    return {
        "method": sweep.settings.method,
        **{f"parameters.{key}": found for key, found in searched.items()},
        **{
            key: value
            for key, value in experiment.items()
            if not any(f"{key}.".startswith(f"{prefix}.") for prefix in left_out)
        },
        "evaluation.call_ratio_budget": sweep.experiment.evaluation.call_ratio_budget,
    }
