"""Data sources: rows that are problems, and errors that name the file and the row."""

import json
from pathlib import Path

import pytest

from pipelines.data import DataError, load_problem_sets, load_problems
from pipelines.experiment import ChainArithmeticSource, DataSettings, JsonlSource
from pipelines.problems import Problem
from pipelines.tasks.chain_arithmetic import Kind, Split


def source(folder: Path, *lines: str, **keys: str) -> JsonlSource:
    path = folder / "problems.jsonl"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return JsonlSource(source="jsonl", path=path, kind="algebra", **keys)


def message(jsonl: JsonlSource) -> str:
    with pytest.raises(DataError) as caught:
        load_problems(jsonl, Split.TRAIN)
    return str(caught.value)


def test_rows_of_a_file_become_problems_in_order(tmp_path: Path) -> None:
    rows = ['{"problem": "1+1", "solution": "2"}', '{"problem": "1+2", "solution": 3, "level": 5}']
    found = load_problems(source(tmp_path, *rows, question="problem", answer="solution"), Split.TRAIN)
    assert found == [Problem("1+1", "2", "algebra"), Problem("1+2", "3", "algebra")]


def test_only_newlines_separate_rows(tmp_path: Path) -> None:
    question = "a\u2028b\x85c"
    row = json.dumps({"question": question, "answer": "2"}, ensure_ascii=False)
    assert [problem.question for problem in load_problems(source(tmp_path, row, row), Split.TRAIN)] == [question] * 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    jsonl = JsonlSource(source="jsonl", path=tmp_path / "absent.jsonl", kind="algebra")
    assert message(jsonl) == f"{tmp_path}/absent.jsonl: no such file"


@pytest.mark.parametrize(
    ("row", "right"),
    [
        ("{", "not JSON"),
        ('{"question": "1+2"}', "key 'answer' is missing or empty; the row has ['question']"),
        ('{"question": " ", "answer": "3"}', "key 'question' is missing or empty"),
        ('{"question": "1+2", "answer": null}', "key 'answer' is missing or empty"),
        ("5", "should be an object with the keys 'question' and 'answer'"),
        ('["question"]', "should be an object with the keys 'question' and 'answer'"),
    ],
)
def test_a_row_that_is_no_problem_is_named(tmp_path: Path, row: str, right: str) -> None:
    found = message(source(tmp_path, '{"question": "1+1", "answer": "2"}', row))
    assert found.startswith(f"{tmp_path}/problems.jsonl, row 2: {right}")


def test_a_source_without_problems_is_refused(tmp_path: Path) -> None:
    assert message(source(tmp_path)) == f"{tmp_path}/problems.jsonl: no problems"
    with pytest.raises(DataError, match="chain_arithmetic: no problems"):
        load_problems(ChainArithmeticSource(counts={Kind.KNOWN: 0}), Split.TRAIN)


def test_synthetic_problems_for_training_and_evaluation_are_disjoint() -> None:
    counts = ChainArithmeticSource(counts={Kind.KNOWN: 40, Kind.UNKNOWABLE: 20})
    sets = load_problem_sets(DataSettings(train=counts, evaluation=counts))
    assert len(sets.train) == len(sets.evaluation) == 60
    assert {problem.question for problem in sets.train} & {problem.question for problem in sets.evaluation} == set()
