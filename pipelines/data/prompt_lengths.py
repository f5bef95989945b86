"""Finds prompts that would leave no room for an answer, before anything is decoded."""

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
    """Return the problems whose prompts for student and teacher have at most `training_tokens` or `evaluation_tokens`.

    `final_prompts` are given if the final evaluation has another teacher. All evaluations have the same problems, so they
    have to suit that teacher, too. A longer prompt is a bad row of its source. Raises `DataError` at a bad row that is not to
    be skipped, and if no problem of a source is left.
    """

    def checked(found: AnySet, longest: int, builders: Sequence[PromptBuilder]) -> AnySet:
        made = zip(*(builder.prompts(found.problems) for builder in builders), strict=True)
        tokens = [max(max(len(prompt.student_ids), len(prompt.teacher_ids)) for prompt in both) for both in made]
        return check_prompt_lengths(found, tokens, longest)

    evaluating = [prompts] if final_prompts is None else [prompts, final_prompts]
    return replace(
        problems,
        train=checked(problems.train, training_tokens, [prompts]),
        warmup=tuple(checked(found, training_tokens, [prompts]) for found in problems.warmup),
        evaluation=tuple(checked(found, evaluation_tokens, evaluating) for found in problems.evaluation),
    )
