"""What a run's experiment.yaml says about its stages, read again only when the file has changed."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import ValidationError

from pipelines.experiment import yaml_values
from pipelines.experiment.alarms import AlarmSettings
from pipelines.experiment.loading import ConfigError
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_names import GRPO, WARMUP
from pipelines.records.run_directory import RunDirectory
from pipelines.terminal.stages import shown_stages
from pipelines.watch.tail import Budget

_MOST_BYTES = 1 << 20
_EFFORT = 200
"""reading a byte of YAML takes about as long as reading so many bytes of a log"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the page needs of an experiment. Without a readable file it has defaults."""

    name: str | None = None
    experiment: Experiment | None = None
    """None if the file is no complete experiment of this version"""
    stages: tuple[tuple[str, Callable[[], bool]], ...] = ()
    """names in the order of the run, each with a function that says whether the stage is done"""
    alarms: AlarmSettings = field(default_factory=AlarmSettings)
    fault: str = ""

    def grpo_steps(self, kept: float | None) -> int | None:
        """Return the GRPO steps of the whole run; `kept` is the number of problems that the filter left, if it is known."""
        experiment = self.experiment
        if experiment is None or not experiment.grpo.enabled:
            return None
        if experiment.grpo.epochs is not None and kept and math.isfinite(kept):
            try:
                experiment = experiment.with_steps_for(int(kept))
            except ConfigError:
                return None
        return experiment.grpo_steps or None

    def serve_command(self, run: Path) -> str | None:
        """Return the command that serves the run's student; None as long as its stage has left none."""
        experiment = self.experiment
        if experiment is None or not experiment.trains:
            return None
        stage = GRPO if experiment.grpo.enabled else WARMUP
        if not RunDirectory(run).stage_done(stage) or not (run / "stages" / stage / "model").is_dir():
            return None
        return shlex.join(["relayllm", "serve", str(run)])


class SettingsFile:
    """The experiment.yaml of one run."""

    def __init__(self, run: Path) -> None:
        self._run, self._path = run, run / "experiment.yaml"
        self._seen: tuple[int, int] | None = None
        self.settings = Settings()

    def read(self, budget: Budget) -> bool:
        """Read the file if it has changed. Return whether it did; without a budget it is left for the next time."""
        try:
            at = os.lstat(self._path)
        except OSError:
            changed = self._seen is not None
            self._seen, self.settings = None, Settings()
            return changed
        if (seen := (at.st_size, at.st_mtime_ns)) == self._seen or budget.left <= 0:
            return False
        self._seen = seen
        if at.st_size > _MOST_BYTES or self._path.is_symlink() or not self._path.is_file():
            self.settings = Settings(fault="experiment.yaml is no file of at most 1 MiB, and is not read.")
            return True
        budget.left -= _EFFORT * at.st_size
        budget.read += at.st_size
        self.settings = self._parsed()
        return True

    @property
    def waits(self) -> bool:
        """Whether the file has not been read yet."""
        return self._seen is None and self._path.exists()

    def _parsed(self) -> Settings:
        try:
            values = yaml_values.read(self._path.read_bytes())
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            return Settings(fault=f"experiment.yaml cannot be read: {type(error).__name__}.")
        if not isinstance(values, dict):
            return Settings(fault="experiment.yaml is no mapping of keys to values.")
        name = str(values["name"])[:200] if values.get("name") else None
        try:
            experiment = Experiment.model_validate(values)
        except ValidationError:
            return Settings(name=name)
        directory = RunDirectory(self._run)
        return Settings(name, experiment, tuple(shown_stages(experiment, directory)), experiment.alarms_in_force)
