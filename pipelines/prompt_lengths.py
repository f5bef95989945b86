"""Prompts that would leave no room for an answer are found before anything is decoded."""

from __future__ import annotations

from dataclasses import replace

from actors.settings import RelayLimits
from pipelines.data import AnySet, ProblemSets, check_prompt_lengths
from pipelines.experiment import Experiment
from pipelines.prompts import PromptBuilder


def with_room_for_answers(experiment: Experiment, problems: ProblemSets, prompts: PromptBuilder) -> ProblemSets:
    """Return the problems whose prompts leave `max_new_tokens` of room in both models' contexts.

    A longer prompt is a bad row of its source. Raises `DataError`.
    """
    context = min(experiment.rollout.engine.max_model_len, experiment.teacher.engine.max_model_len)

    def checked(found: AnySet, limits: RelayLimits) -> AnySet:
        made = (prompts.prompt(problem) for problem in found.problems)
        tokens = [max(len(prompt.student_ids), len(prompt.teacher_ids)) for prompt in made]
        return check_prompt_lengths(found, tokens, context - limits.max_new_tokens)

    return replace(
        problems,
        training=checked(problems.training, experiment.grpo.limits),
        evaluation=tuple(checked(found, experiment.evaluation.limits) for found in problems.evaluation),
    )
