"""Questions are checked as a whole, and bad rows are named by their line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.generation.rows import InputError, RelayKeys, RequestKeys, read_questions

NOTHING = RequestKeys()


def written(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_the_three_kinds_of_rows_become_requests(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2?"}]
    path = written(tmp_path, {"question": "1?"}, "", {"messages": messages, "id": "b"}, {"prompt": "3:", "id": 7})
    rows = read_questions(path, NOTHING, suffix=" Box it.").rows
    assert [row.path for row in rows] == ["v1/chat/completions", "v1/chat/completions", "v1/completions"]
    assert [row.body for row in rows] == [
        {"messages": [{"role": "user", "content": "1? Box it."}]},
        {"messages": messages},
        {"prompt": "3:"},
    ]
    assert [(row.line, row.id) for row in rows] == [(1, None), (3, "b"), (4, 7)]


def test_a_rows_own_keys_win_over_the_commands(tmp_path: Path) -> None:
    own = {"question": "1?", "temperature": 0.5, "stop": ["\n"], "relay": {"max_calls": 1}, "level": 5}
    defaults = RequestKeys(temperature=1.0, max_tokens=9, relay=RelayKeys(max_call_ratio=0.1))
    questions = read_questions(written(tmp_path, own), defaults)
    body = {key: value for key, value in questions.rows[0].body.items() if key != "messages"}
    relay = {"max_call_ratio": 0.1, "max_calls": 1}
    assert body == {"temperature": 0.5, "max_tokens": 9, "stop": ["\n"], "relay": relay}
    assert questions.unused == ("level",)


@pytest.mark.parametrize(
    ("answer", "gold"), [("42", "42"), (42, "42"), (1.5, "1.5"), ("So 6 * 7.\n#### 42", "42"), (None, None)]
)
def test_right_answers_are_read_as_data_sets_write_them(tmp_path: Path, answer: object, gold: str | None) -> None:
    assert read_questions(written(tmp_path, {"question": "?", "answer": answer}), NOTHING).rows[0].gold == gold


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ([1], "should be a JSON object, not list"),
        ({}, "needs one of question, messages and prompt, and has none"),
        ({"question": "a", "prompt": "b"}, "and has question and prompt"),
        ({"question": ""}, "question: string should have at least 1 character"),
        ({"question": 5}, "question: input should be a valid string"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages.0.role"),
        ({"question": "a", "temperature": -1}, "temperature: input should be greater than or equal to 0"),
        ({"question": "a", "temperature": "1"}, "temperature: input should be a valid number"),
        ('{"question": "a", "temperature": NaN}', "temperature: input should be a finite number"),
        ({"question": "a", "relay": {"max_call_ration": 0.1}}, "relay.max_call_ration: extra inputs are not permitted"),
        ({"question": "a\ud800"}, "half of a character"),
        ({"question": "a", "answer": {"x": 1}}, "answer: should be text or a number"),
        ({"question": "a", "id": "first"}, "id 'first' is that of line 1, too"),
    ],
)
def test_bad_rows_are_named_by_their_line(tmp_path: Path, row: object, words: str) -> None:
    with pytest.raises(InputError) as error:
        read_questions(written(tmp_path, {"question": "fine", "id": "first"}, row), NOTHING)
    assert "in.jsonl, line 2: " in str(error.value) and words in str(error.value)


def test_all_bad_rows_are_named_up_to_a_number(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_questions(written(tmp_path, *[{}] * 25), NOTHING)
    lines = str(error.value).splitlines()
    assert len(lines) == 21 and lines[-1] == "and 5 more"


def test_a_file_without_rows_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no rows"):
        read_questions(written(tmp_path, "", " "), NOTHING)
    with pytest.raises(InputError, match=r"nowhere\.jsonl cannot be read: No such file"):
        read_questions(tmp_path / "nowhere.jsonl", NOTHING)
