"""Prompts must leave room for an answer in both models' contexts."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.relay.handoff import RelayPrompt
from pipelines.data.problem import Problem
from pipelines.data.prompt_lengths import with_room_for_answers
from pipelines.data.readers import DataError
from pipelines.data.sources import ProblemSets, load_problem_sets
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment

DEMO = Path(__file__).parents[3] / "experiments" / "demo.yaml"


class Prompts:
    """Prompts of fixed lengths."""

    def __init__(self, student_tokens: int, teacher_tokens: int) -> None:
        self._prompt = RelayPrompt((1,) * student_tokens, (1,) * teacher_tokens)

    def prompts(self, problems: Sequence[Problem]) -> tuple[RelayPrompt, ...]:
        return (self._prompt,) * len(problems)


def check(student_tokens: int, teacher_tokens: int, *overrides: str, final: Prompts | None = None) -> int:
    experiment = load(
        DEMO, ["rollout.engine.max_model_len=128", "teacher.engine.max_model_len=120", *overrides], Experiment
    )
    return len(kept(experiment, Prompts(student_tokens, teacher_tokens), final).evaluation[0].problems)


def kept(experiment: Experiment, prompts: Prompts, final: Prompts | None = None) -> ProblemSets:
    return with_room_for_answers(
        load_problem_sets(experiment.data),
        prompts,  # type: ignore[arg-type]
        final,  # type: ignore[arg-type]
        training_tokens=experiment.longest_prompt(experiment.grpo.limits),
        evaluation_tokens=experiment.longest_prompt(experiment.evaluation.limits),
    )


def test_prompts_that_fit_with_an_answer_are_kept() -> None:
    assert check(40, 40) == 500


@pytest.mark.parametrize(("student", "teacher"), [(41, 1), (1, 41)])
def test_either_models_prompt_may_be_too_long(student: int, teacher: int) -> None:
    with pytest.raises(DataError, match=r"chain_arithmetic, problem 1: the prompt has 41 tokens, .* room for 40"):
        check(student, teacher)


def test_the_final_evaluations_teacher_may_have_longer_prompts_than_the_one_of_training() -> None:
    assert check(40, 40, final=Prompts(40, 40)) == 500
    with pytest.raises(DataError, match=r"the prompt has 41 tokens, .* room for 40"):
        check(40, 40, final=Prompts(40, 41))


def test_the_warmups_own_problems_need_room_too() -> None:
    class LongOnes(Prompts):
        def prompts(self, problems: Sequence[Problem]) -> tuple[RelayPrompt, ...]:
            long = RelayPrompt((1,) * 65, (1,))
            return tuple(long if problem.kind == "own/known" else self._prompt for problem in problems)

    own = "data.warmup=[{source: chain_arithmetic, counts: {known: 5}, kind_prefix: own/}]"
    experiment = load(DEMO, [own], Experiment)
    with pytest.raises(DataError, match=r"chain_arithmetic, problem 1: the prompt has 65 tokens, .* room for 64"):
        kept(experiment, LongOnes(40, 40))


def test_the_final_evaluations_teacher_has_no_say_in_training() -> None:
    assert check(40, 40, "evaluation.limits.max_new_tokens=60", final=Prompts(40, 60)) == 500


def test_each_stage_has_its_own_room() -> None:
    with pytest.raises(DataError, match="room for 39"):
        check(40, 40, "evaluation.limits.max_new_tokens=81")
    assert check(40, 40, "evaluation.limits.max_new_tokens=60") == 500
