"""Prompts that would leave no room for an answer are found before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.data.prompts import PromptBuilder
from pipelines.data.sources import AnySet, ProblemSets, check_prompt_lengths


def with_room_for_answers(
    problems: ProblemSets,
    prompts: PromptBuilder,
    final_prompts: PromptBuilder | None = None,
    *,
    training_tokens: int,
    evaluation_tokens: int,
) -> ProblemSets:
    """Return the problems whose prompts for student and teacher have at most so many tokens.

    `final_prompts` are given if the final evaluation has another teacher: all evaluations have the same problems, so
    they have to suit that one too. A longer prompt is a bad row of its source. Raises `DataError`.
    """

    def checked(found: AnySet, longest: int, builders: Sequence[PromptBuilder]) -> AnySet:
        made = zip(*(builder.prompts(found.problems) for builder in builders), strict=True)
        tokens = [max(max(len(prompt.student_ids), len(prompt.teacher_ids)) for prompt in both) for both in made]
        return check_prompt_lengths(found, tokens, longest)

    evaluating = [prompts] if final_prompts is None else [prompts, final_prompts]
    return replace(
        problems,
        training=checked(problems.training, training_tokens, [prompts]),
        warmup_sources=tuple(checked(found, training_tokens, [prompts]) for found in problems.warmup_sources),
        evaluation=tuple(checked(found, evaluation_tokens, evaluating) for found in problems.evaluation),
    )
