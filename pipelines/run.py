"""What every stage is given: the experiment, its directory, its models and its actors."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from pipelines.data.prompts import PromptBuilder
from pipelines.data.sources import ProblemSets
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_names import GRPO, WARMUP, citer_stages
from pipelines.models.base_models import BaseModels
from pipelines.records.run_directory import RunDirectory
from pipelines.records.tracking import Tracker
from pipelines.rollout.decode_and_grade import DecodingActors
from pipelines.system.starting import Part
from pipelines.system.system import System

MODEL = "model"
"""name of the folder, in a stage's folder, that holds the student which the stage trained"""


GetSystem = Callable[[Experiment, BaseModels, Collection[Part]], System]
"""returns the actors of a run, as `SystemOnDemand.get` does"""


def parts_left(experiment: Experiment, directory: RunDirectory) -> set[Part]:
    """Return the optional actors that an unfinished stage needs."""

    def left(stage: str) -> bool:
        return not directory.stage_done(stage)

    parts: set[Part] = set()
    if (experiment.warmup.enabled and left(WARMUP)) or (experiment.grpo.enabled and left(GRPO)):
        parts.add("learner")
    if experiment.citer.enabled and any(map(left, citer_stages(experiment))):
        parts.add("citer")
    return parts


def prompt_builder(models: BaseModels, suffix: str) -> PromptBuilder:
    """Return what makes prompts for these models. Raises `PromptError`."""
    as_text = models.served is not None and models.served.takes_text
    return PromptBuilder(models.student, models.teacher, suffix, as_text)


@dataclass(frozen=True, slots=True)
class Run:
    """A run in progress, as its stages see it."""

    experiment: Experiment
    directory: RunDirectory
    tracker: Tracker
    models: BaseModels
    problems: ProblemSets
    prompts: PromptBuilder
    get_system: GetSystem

    def actors(self) -> System:
        """Return the actors that unfinished stages need. The first call starts them, or waits until they are up."""
        return self.get_system(self.experiment, self.models, parts_left(self.experiment, self.directory))

    def decoding_actors(self) -> DecodingActors:
        """Return the actors that decode and grade for the run. Starts them as `actors` does."""
        seed = self.experiment.seed if self.experiment.seeded_sampling else None
        actors = self.actors()
        return DecodingActors(actors.rollout, actors.reward, self.prompts, seed)

    @property
    def warm_student(self) -> str:
        """The folder of the student that GRPO starts from."""
        return str(self.directory.stage_dir(WARMUP) / MODEL) if self.experiment.warmup.enabled else self.models.student

    @property
    def trained_student(self) -> str:
        """The folder of the student that the run ends with."""
        return str(self.directory.stage_dir(GRPO) / MODEL) if self.experiment.grpo.enabled else self.warm_student

    @property
    def command_tokens(self) -> int:
        """Tokens of a command with a one-digit n, in the student's vocabulary."""
        return len(self.prompts.student.encode("<call>1</call>"))

    def with_final_teacher(self) -> Run:
        """Return the run as the final evaluation sees it: with that evaluation's teacher."""
        if not self.models.changes_teacher:
            return self
        models = self.models.with_final_teacher()
        prompts = prompt_builder(models, self.experiment.data.prompt_suffix)
        return replace(self, experiment=self.experiment.with_final_teacher(), models=models, prompts=prompts)
