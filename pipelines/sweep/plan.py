"""Loads a sweep: its file, and the experiment that it changes, checked with every value that a trial may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import yaml

from actors.rollout import Policy
from pipelines.experiment import yaml_values
from pipelines.experiment.errors import problem
from pipelines.experiment.loading import EXTENDS, OVERRIDE, ConfigError, load
from pipelines.experiment.opening import opened
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import stage_keys
from pipelines.experiment.stage_names import evaluated_steps
from pipelines.experiment.yaml_values import in_one_line
from pipelines.records.changes import leaves
from pipelines.sweep.settings import ParameterSettings, Scalar, SweepSettings

OWN_KEYS = ("name", "run_dir", "share_dir", "tracking.group", "tracking.name")
"""keys of an experiment that a sweep sets itself for each trial"""
TRIAL = "--trial"
ARGUMENTS = "${args_no_hyphens}"
"""what an agent of W&B replaces by a trial's values, each as key=value"""

Values = Mapping[str, Scalar]
"""the values of one trial, by dotted key of the experiment"""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a sweep."""

    overrides: tuple[str, ...]
    """values that replace those of the experiment file, as arguments of `relayllm run`"""
    experiment: Experiment


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep that has been checked and can start."""

    file: Path
    name: str
    settings: SweepSettings
    directory: Path
    """of all that the sweep writes"""
    experiment: Experiment
    """the first possible trial, without its own directory"""
    trials: int
    """how many there will be"""

    @property
    def searched(self) -> dict[str, ParameterSettings]:
        """The parameters that have more than one value."""
        return {key: found for key, found in self.settings.parameters.items() if found.drawn != "constant"}

    def arguments(self, values: Values) -> tuple[str, ...]:
        """Return a trial's values, and the constant ones, as arguments of `relayllm run`."""
        return _arguments({**_constants(self.settings), **values})

    def trial(self, arguments: Sequence[str], label: str, directory: Path) -> Trial:
        """Return the trial with these `key=value` arguments, in its own directory. `label` tells it from the others.

        Raises `ConfigError` if the schema refuses the values together.
        """
        own = {
            "name": f"{self.name}-{label}",
            "run_dir": str(directory),
            "share_dir": str(self.directory / "shared"),
            "tracking.group": self.name,
            "tracking.name": f"{self.name}-{label}",
        }
        overrides = (*arguments, *_arguments(own))
        return Trial(overrides, opened(self.settings.program, overrides))

    def varying_stages(self) -> list[str]:
        """Return the stages that trials do not share: those whose key depends on a searched parameter."""
        first = {key: tried(found)[0] for key, found in self.settings.parameters.items()}
        keys = stage_keys(self.experiment)
        varying: set[str] = set()
        for key, found in self.searched.items():
            for value in tried(found)[1:]:
                other = stage_keys(_experiment(self.file, self.settings.program, {**first, key: value}))
                varying |= {stage for stage in {**keys, **other} if keys.get(stage) != other.get(stage)}
        return [stage for stage in keys if stage in varying]


def load_sweep(path: Path, directory: Path | None = None) -> Sweep:
    """Return the sweep in the file at `path`. Raises `ConfigError`, which lists all that is wrong with it.

    `program` is relative to the working directory, as W&B has it. Without `directory` it is runs/sweeps/<name>.
    """
    settings = load(path, (), SweepSettings)
    name = settings.name or path.stem
    problems = [*_read_otherwise(path), *_own_keys(path, settings), *_method(path, settings), *_command(path, settings)]
    if not settings.program.is_file():
        right = f"there is no such file in {Path.cwd()}; start from the folder that the path is relative to"
        problems.append(problem(str(path), ("program",), right, str(settings.program)))
    if problems:
        raise ConfigError(problems)
    experiment = _check_values(path, settings)
    if problems := list(_objective(path, settings, experiment)):
        raise ConfigError(problems)
    size = settings.run_cap or 0
    if settings.method == "grid":
        grid = prod(len(grid_values(found)) for found in settings.parameters.values())
        size = min(grid, settings.run_cap or grid)
    return Sweep(path, name, settings, (directory or Path("runs/sweeps") / name).resolve(), experiment, size)


def grid_values(parameter: ParameterSettings) -> tuple[Scalar, ...]:
    """Return all values of a parameter of a grid. A range of integers or of steps is counted out."""
    if parameter.value is not None:
        return (parameter.value,)
    if parameter.values is not None:
        return parameter.values
    assert parameter.min is not None and parameter.max is not None
    if parameter.drawn == "int_uniform":
        return tuple(range(int(parameter.min), int(parameter.max) + 1))
    assert parameter.q is not None
    steps = int((parameter.max - parameter.min) / parameter.q + 1e-9)
    return tuple(round(parameter.min + step * parameter.q, 12) for step in range(steps + 1))


def tried(parameter: ParameterSettings) -> tuple[Scalar, ...]:
    """Return the values that are checked: all that are listed, or both ends of a range."""
    if parameter.min is None or parameter.max is None:
        return grid_values(parameter)
    return parameter.min, parameter.max


def _constants(settings: SweepSettings) -> dict[str, Scalar]:
    return {key: found.value for key, found in settings.parameters.items() if found.value is not None}


def _arguments(values: Values) -> tuple[str, ...]:
    return tuple(f"{key}={in_one_line(value)}" for key, value in values.items())


def _read_otherwise(path: Path) -> Iterator[str]:
    """Yield a problem for each value that W&B reads in another way: it reads YAML 1.1, and `1e-6` as a text."""
    text = path.read_text(encoding="utf-8")
    ours = yaml_values.read(text)
    if isinstance(ours, dict) and EXTENDS in ours:
        yield problem(str(path), (EXTENDS,), "W&B does not know this key of ours: write the sweep in one file")
        return
    theirs = leaves(yaml.safe_load(text))
    for key, value in leaves(ours).items():
        if (other := theirs.get(key)) != value or type(other) is not type(value):
            right = f"W&B reads it as {other!r}, and not as {value!r}: write 1e-6 as 1.0e-6, and put text in quotes"
            yield problem(str(path), (key,), right)


def _own_keys(path: Path, settings: SweepSettings) -> list[str]:
    own = [key for key in settings.parameters if key in OWN_KEYS]
    return [problem(str(path), ("parameters", key), "is set by the sweep for each trial; leave it out") for key in own]


def _method(path: Path, settings: SweepSettings) -> Iterator[str]:
    if all(found.drawn == "constant" for found in settings.parameters.values()):
        yield problem(str(path), ("parameters",), "at least one should have values, or min and max")
    if settings.method != "grid":
        if settings.run_cap is None:
            right = f"{settings.method} never ends by itself: give the number of trials"
            yield problem(str(path), ("run_cap",), right)
        return
    for key, found in settings.parameters.items():
        if found.drawn in ("uniform", "log_uniform_values"):
            right = "a grid needs values, integers for min and max, or a step q with the distribution q_uniform"
            yield problem(str(path), ("parameters", key), right)


def _command(path: Path, settings: SweepSettings) -> Iterator[str]:
    """Yield what is wrong with the agent's command, if there is one: it has to name this file."""
    command = settings.command
    if not command:
        return
    right = f"should be [${{env}}, python, -m, pipelines, sweep, {path}, {TRIAL}, {ARGUMENTS}], or be left out"
    names_this = any(Path(word).exists() and Path(word).resolve() == path.resolve() for word in command)
    if not (names_this and TRIAL in command and command[-1] == ARGUMENTS):
        yield problem(str(path), ("command",), right, " ".join(command))


def _check_values(path: Path, settings: SweepSettings) -> Experiment:
    """Return the experiment with the first value of each parameter. All other values are tried one by one.

    Raises `ConfigError` with each value that the schema refuses.
    """
    first = {key: tried(found)[0] for key, found in settings.parameters.items()}
    experiment = _experiment(path, settings.program, first)
    problems: list[str] = []
    for key, found in settings.parameters.items():
        for value in tried(found)[1:]:
            try:
                _experiment(path, settings.program, {**first, key: value})
            except ConfigError as error:
                problems += [line for line in error.problems if line not in problems]
    if problems:
        raise ConfigError(problems)
    return experiment


def _experiment(path: Path, program: Path, values: Values) -> Experiment:
    """Return the program's experiment with these values. What is wrong with a value is said of the sweep's file."""
    # A grid of trials has names of its own; here any name does.
    try:
        return opened(program, _arguments({**values, "name": "trial"}))
    except ConfigError as error:
        own = f"{OVERRIDE}: "
        raise ConfigError(
            [
                f"{path}: parameters.{line.removeprefix(own)}" if line.startswith(own) else line
                for line in error.problems
            ]
        ) from error


def _objective(path: Path, settings: SweepSettings, experiment: Experiment) -> Iterator[str]:
    """Yield what keeps the trials from having an objective, or from being ended early."""
    evaluation = experiment.evaluation
    if Policy.RELAY not in evaluation.final:
        right = "should have relay in it: trials are compared by the final evaluation of the relay student"
        yield problem(str(settings.program), ("evaluation", "final"), right, [str(one) for one in evaluation.final])
    early = settings.early_terminate
    if early is None or experiment.grpo.epochs is not None:
        return
    within = len(evaluated_steps(experiment)) if Policy.RELAY in evaluation.training else 0
    if within < early.first:
        right = (
            f"no trial would end early: the first comparison is after iteration {early.first}, and a trial has {within} "
            "evaluations of the relay student within GRPO (grpo.steps, grpo.evaluate_every, evaluation.training)"
        )
        yield problem(str(path), ("early_terminate",), right)
