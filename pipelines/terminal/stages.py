"""A run's stages as the display names them. Evaluations at one time are one stage; those within GRPO belong to GRPO."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import stage_keys
from pipelines.experiment.stage_names import GRPO
from pipelines.records.run_directory import RunDirectory


def shown_stages(experiment: Experiment, directory: RunDirectory) -> list[tuple[str, Callable[[], bool]]]:
    """Return the names in the order of the run, each with a function that says whether the stage is done."""
    parts: dict[str, list[str]] = {}
    for stage in stage_keys(experiment):
        kind, _, rest = stage.partition("-")
        name = f"evaluate {rest.partition('-')[0]}" if kind == "evaluate" else stage
        if name != f"evaluate {GRPO}":
            parts.setdefault(name, []).append(stage)
    return [(name, partial(_done, directory, stages)) for name, stages in parts.items()]


def _done(directory: RunDirectory, stages: list[str]) -> bool:
    return all(map(directory.stage_done, stages))
