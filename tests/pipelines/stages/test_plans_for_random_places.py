"""Calls at random places are planned for the answers of the same evaluation, and for no others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.settings import SamplingSettings
from pipelines.data.problem import Problem
from pipelines.data.sources import EvaluationSet
from pipelines.records.answers import ANSWERS
from pipelines.records.run_directory import RunDirectory
from pipelines.stages.evaluate import EvaluationError, plans_for_random_places
from tests.pipelines.conftest import MakeTable

QUESTIONS = ("1+1", "2+2")


def evaluation(*questions: str, samples: int = 2) -> list[EvaluationSet]:
    problems = tuple(Problem(question=question, gold="2", kind="sums") for question in questions)
    rows = tuple(range(len(problems)))
    return [EvaluationSet("sums", problems, rows, questions, (), "skip", samples, SamplingSettings())]


@pytest.fixture
def relayed(tmp_path: Path, table_of: MakeTable) -> Any:
    """A run with two relay answers to each of two questions."""
    calls = [(), ((3, 5, 5, 9, 0),), ((3, 6, 6, 9, 0), (9, 2, 2, 9, 0)), ()]
    rows = [
        {"problem": i // 2, "question": QUESTIONS[i // 2], "own_tokens": 7, "calls": made}
        for i, made in enumerate(calls)
    ]
    directory = RunDirectory(tmp_path)
    directory.write_bytes(f"stages/evaluate-final-relay/{ANSWERS}", table_of(rows).to_bytes())
    return SimpleNamespace(directory=directory, experiment=SimpleNamespace(seed=1))


def test_each_answer_has_the_calls_of_the_relay_answer_in_its_place(relayed: Any) -> None:
    plans = plans_for_random_places(relayed, "final", evaluation(*QUESTIONS))
    assert [sorted(call.requested for call in plan) for plan in plans] == [[], [5], [2, 6], []]


@pytest.mark.parametrize(
    "sets",
    [
        evaluation("1+1", "3+3"),
        evaluation("2+2", "1+1"),
        evaluation("1+1"),
        evaluation(*QUESTIONS, samples=1),
    ],
)
def test_answers_to_other_problems_are_refused(relayed: Any, sets: list[EvaluationSet]) -> None:
    with pytest.raises(EvaluationError, match=r"evaluate-final-relay: has answers to other problems"):
        plans_for_random_places(relayed, "final", sets)
