"""What every stage is given: the experiment, its directory, its models and its actors."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.data import ProblemSets
from pipelines.experiment import Experiment
from pipelines.prompts import PromptBuilder
from pipelines.run_directory import RunDirectory
from pipelines.stages.base_models import BaseModels
from pipelines.system import System
from pipelines.tracking import Tracker

WARMUP, GRPO = "warmup", "grpo"
MODEL = "model"
"""the folder, under a stage's, of the student that the stage made"""


@dataclass(frozen=True, slots=True)
class Run:
    """One run under way."""

    experiment: Experiment
    directory: RunDirectory
    tracker: Tracker
    models: BaseModels
    problems: ProblemSets
    prompts: PromptBuilder
    system: System

    @property
    def command_tokens(self) -> int:
        """Tokens of a command with a one-digit n, in the student's vocabulary."""
        return len(self.prompts.student_tokenizer.encode("<call>1</call>", add_special_tokens=False))


def latest_student(directory: RunDirectory, models: BaseModels) -> str:
    """Return the folder of the newest student that a finished stage left, or the base student's."""
    for stage in (GRPO, WARMUP):
        if directory.stage_done(stage):
            return str(directory.stage_dir(stage) / MODEL)
    return models.student
