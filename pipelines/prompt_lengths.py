"""Prompts that would leave no room for an answer are found before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from actors.settings import RelayLimits
from pipelines.data import AnySet, ProblemSets, check_prompt_lengths
from pipelines.experiment import Experiment
from pipelines.prompts import PromptBuilder


def with_room_for_answers(
    experiment: Experiment, problems: ProblemSets, prompts: PromptBuilder, final_prompts: PromptBuilder | None = None
) -> ProblemSets:
    """Return the problems whose prompts leave `max_new_tokens` of room in the contexts of student and teacher.

    `final_prompts` are given if the final evaluation has another teacher: all evaluations have the same problems, so
    they have to suit that one too. A longer prompt is a bad row of its source. Raises `DataError`.
    """
    context = min(experiment.rollout.engine.max_model_len, experiment.teacher.engine.max_model_len)

    def checked(found: AnySet, limits: RelayLimits, builders: Sequence[PromptBuilder]) -> AnySet:
        made = zip(*(builder.prompts(found.problems) for builder in builders), strict=True)
        tokens = [max(max(len(prompt.student_ids), len(prompt.teacher_ids)) for prompt in both) for both in made]
        return check_prompt_lengths(found, tokens, context - limits.max_new_tokens)

    evaluating = [prompts] if final_prompts is None else [prompts, final_prompts]
    return replace(
        problems,
        training=checked(problems.training, experiment.grpo.limits, [prompts]),
        warmup_sources=tuple(checked(found, experiment.grpo.limits, [prompts]) for found in problems.warmup_sources),
        evaluation=tuple(checked(found, experiment.evaluation.limits, evaluating) for found in problems.evaluation),
    )
