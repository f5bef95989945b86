"""Data sources: rows that are problems, and errors that name the file and the row."""

import json
from pathlib import Path

import pytest

from pipelines.data import DataError, load_problem_sets, load_problems
from pipelines.experiment import ChainArithmeticSource, DataSettings, JsonlSource
from pipelines.problems import Problem
from pipelines.tasks.chain_arithmetic import Form, Kind, Split, chain_of


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


def test_a_synthetic_source_says_how_long_its_problems_are_how_they_are_written_and_what_they_are_called() -> None:
    source = ChainArithmeticSource(
        counts={Kind.GUESSABLE: 3}, lengths=(5,), form=Form.POSTFIX, kind_prefix="long-postfix/"
    )
    found = load_problems(source, Split.EVALUATION)
    assert [problem.kind for problem in found] == ["long-postfix/guessable"] * 3
    chains = [chain_of(problem.question) for problem in found]
    assert {(chain.form, len(chain.steps), chain.split) for chain in chains} == {(Form.POSTFIX, 5, Split.EVALUATION)}


def test_more_synthetic_problems_than_there_are_is_reported_with_the_key() -> None:
    with pytest.raises(DataError, match=r"^chain_arithmetic: counts\.teacher_known = 501: .* there are only"):
        load_problems(ChainArithmeticSource(counts={Kind.TEACHER_KNOWN: 501}, lengths=(1,)), Split.EVALUATION)
