"""Columns of a row become a problem, or an error says which column is wrong and how."""

from decimal import Decimal
from typing import Any

import pytest

from pipelines.data.parsing import LETTER_INSTRUCTION, ProblemColumns, RowError, after_hashes, problem_of, written
from pipelines.data.problem import Problem

PLAIN = ProblemColumns(("problem", "question"), (("answer", written),))
CHOICE = ProblemColumns(("question",), (("answer", written),), options="options")


def reason(row: dict[str, Any], columns: ProblemColumns) -> str:
    with pytest.raises(RowError) as caught:
        problem_of(row, columns, "algebra")
    return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("7", "7"), (7, "7"), (27.0, "27"), (0.5, "0.5"), (" x ", "x"), (-3.0, "-3"), (Decimal("2.50"), "2.50")],
)
def test_an_answer_is_written_as_in_a_box(answer: object, gold: str) -> None:
    assert problem_of({"question": "1+1", "answer": answer}, PLAIN, "algebra") == Problem("1+1", gold, "algebra")


def test_the_first_column_that_the_row_has_is_read() -> None:
    assert problem_of({"question": "a", "problem": "b", "answer": 1}, PLAIN, "algebra").question == "b"


def test_nested_columns_and_the_instructions_around_a_question() -> None:
    columns = ProblemColumns(("prompt.0.content",), (("gold.value", written),), instructions=("Solve.", "Box it."))
    row = {"prompt": [{"role": "user", "content": "Solve.\n\n1+1\n\nBox it."}], "gold": {"value": "2"}}
    assert problem_of(row, columns, "algebra") == Problem("1+1", "2", "algebra")


def test_options_are_listed_one_per_line_and_the_gold_answer_is_a_letter() -> None:
    found = problem_of({"question": "Which?", "options": ["two", 3], "answer": "(B)"}, CHOICE, "quiz")
    assert found.question.splitlines() == ["Which?", "", "(A) two", "(B) 3", "", LETTER_INSTRUCTION]
    assert (found.gold, found.form) == ("B", "option")


def test_options_that_the_question_lists_itself_are_told_by_the_gold_answer() -> None:
    columns = ProblemColumns(("question",), (("answer", written),), lettered_golds=True)
    found = [problem_of({"question": "?", "answer": gold}, columns, "bbeh") for gold in ("(C)", "C", "True")]
    assert [(problem.gold, problem.form) for problem in found] == [("C", "option"), ("C", "free"), ("True", "free")]


@pytest.mark.parametrize(
    ("row", "right"),
    [
        ({"answer": "1"}, "there is no column 'problem' or 'question'; the row has ['answer']"),
        ({"question": "1+1"}, "there is no column 'answer'; the row has ['question']"),
        ({"question": " ", "answer": "1"}, "column 'question' is empty"),
        ({"question": "\u200b", "answer": "1"}, "column 'question' is empty"),
        ({"question": "a", "answer": r"\text{}"}, r"column 'answer' has nothing that can be compared: '\\text{}'"),
        ({"question": "a", "answer": "$"}, "column 'answer' has nothing that can be compared: '$'"),
        ({"question": 5, "answer": "1"}, "column 'question' should be text, not 5"),
        ({"question": "a", "answer": " "}, "column 'answer' is empty"),
        ({"question": "a", "answer": None}, "column 'answer' is empty"),
        ({"question": "a", "answer": True}, "column 'answer' should be text or a number, not True"),
        ({"question": "a", "answer": ["1"]}, "column 'answer' should be text or a number, not ['1']"),
        ({"question": "a", "answer": float("nan")}, "column 'answer' should be text or a number, not nan"),
        ({"question": "a", "answer": Decimal("NaN")}, "column 'answer' should be text or a number, not Decimal('NaN')"),
        (
            {"question": "what \ud83d?", "answer": "1"},
            "column 'question' has half of a character, '\\ud83d', at character 6: text was cut inside it",
        ),
        (
            {"question": "a", "answer": "\udc00"},
            "column 'answer' has half of a character, '\\udc00', at character 1: text was cut inside it",
        ),
        (
            {"question": "a", "answer": "1" * 5000},
            "column 'answer' has 5,000 characters, and an answer of more than 4,096 is never right",
        ),
    ],
)
def test_a_row_that_is_no_problem_says_why(row: dict[str, Any], right: str) -> None:
    assert reason(row, PLAIN) == right


@pytest.mark.parametrize(
    ("options", "answer", "right"),
    [
        ("two", "A", "column 'options' should be a list of 2 to 26 options, not 'two'"),
        (["two"], "A", "column 'options' should be a list of 2 to 26 options, not ['two']"),
        (["two", ""], "A", "an option in column 'options' is empty"),
        (["two", "three"], "C", "column 'answer' should be the letter of an option, A to B, not 'C'"),
        (
            ["two", "th\ud83d"],
            "A",
            "column 'options' has half of a character, '\\ud83d', at character 3: text was cut inside it",
        ),
        (["two", "three"], 1, "column 'answer' should be the letter of an option, A to B, not '1'"),
    ],
)
def test_options_that_do_not_fit_say_why(options: object, answer: object, right: str) -> None:
    assert reason({"question": "?", "options": options, "answer": answer}, CHOICE) == right


def test_a_solution_without_its_mark_is_no_answer() -> None:
    columns = ProblemColumns(("question",), (("answer", after_hashes),))
    assert reason({"question": "a", "answer": "it is 5"}, columns).startswith("column 'answer' has no '####'")
