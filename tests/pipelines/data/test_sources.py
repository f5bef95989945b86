"""Data sources become problem sets: which rows were taken, which were skipped and why."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.data.chain_arithmetic.task import Form, Kind, Split, chain_of
from pipelines.data.problem import Problem
from pipelines.data.readers import DataError
from pipelines.data.settings import ChainArithmeticSource, DataSettings, FileSource
from pipelines.data.sources import ProblemSet, check_prompt_lengths, load_problem_sets, load_source

GOOD = '{"question": "1+1", "answer": "2"}'


def source(folder: Path, *lines: str, **keys: Any) -> FileSource:
    path = folder / "problems.jsonl"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return FileSource(source="file", path=path, kind="algebra", **keys)


def numbered(folder: Path, count: int, **keys: Any) -> FileSource:
    return source(folder, *(json.dumps({"question": str(i), "answer": i}) for i in range(count)), **keys)


def message(own: FileSource) -> str:
    with pytest.raises(DataError) as caught:
        load_source(own, Split.TRAIN)
    return str(caught.value)


def questions(found: ProblemSet) -> list[str]:
    return [problem.question for problem in found.problems]


def test_rows_of_a_file_become_problems_in_order(tmp_path: Path) -> None:
    rows = ['{"problem": "1+1", "solution": "2"}', '{"problem": "1+2", "solution": 3, "level": 5}']
    found = load_source(source(tmp_path, *rows, question="problem", answer="solution"), Split.TRAIN)
    assert found.problems == (Problem("1+1", "2", "algebra"), Problem("1+2", "3", "algebra"))
    assert found.rows == (0, 1)


def test_own_multiple_choice_problems_are_graded_by_letter(tmp_path: Path) -> None:
    row = {"question": "Which is even?", "choices": ["1", "2"], "answer": "B"}
    found = load_source(source(tmp_path, json.dumps(row), options="choices"), Split.TRAIN)
    assert (found.problems[0].gold, found.problems[0].form) == ("B", "option")
    assert "(A) 1\n(B) 2" in found.problems[0].question


@pytest.mark.parametrize(
    ("row", "right"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"question": "1+2"}', "there is no column 'answer'; the row has ['question']"),
        ('{"question": "1+2", "answer": null}', "column 'answer' is empty"),
        ("5", "should be an object with a key for each column"),
        ('["question"]', "should be an object with a key for each column"),
    ],
)
def test_a_row_that_is_no_problem_stops_with_its_file_and_number(tmp_path: Path, row: str, right: str) -> None:
    found = message(source(tmp_path, GOOD, row))
    assert found.startswith(f"{tmp_path}/problems.jsonl, row 2: {right}")
    assert found.endswith("to leave such rows out, set bad_rows: skip")


def test_skipped_rows_are_counted_and_logged_with_the_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = ['{"question": "1+2"}', *["{"] * 6]
    with caplog.at_level(logging.WARNING):
        found = load_source(source(tmp_path, bad[0], GOOD, *bad[1:], bad_rows="skip"), Split.TRAIN)
    assert found.rows == (1,)
    assert len(found.skipped) == 7
    assert found.skipped[0].startswith(f"{tmp_path}/problems.jsonl, row 1: there is no column 'answer'")
    assert "algebra: 7 bad rows skipped:" in caplog.text and "and 2 more" in caplog.text


def test_a_source_without_problems_is_refused(tmp_path: Path) -> None:
    assert message(source(tmp_path)) == f"{tmp_path}/problems.jsonl: no problems"
    assert message(source(tmp_path, "{", bad_rows="skip")).endswith("problems.jsonl: no problems, 1 rows skipped")
    for counts in ({}, {Kind.KNOWN: 0}):
        with pytest.raises(ValidationError, match="at least one kind a count above 0"):
            ChainArithmeticSource(counts=counts)


def test_a_limit_takes_rows_that_depend_on_the_seed_alone(tmp_path: Path) -> None:
    taken = [load_source(numbered(tmp_path, 50, limit=10, seed=seed), Split.TRAIN) for seed in (1, 1, 2)]
    assert taken[0] == taken[1]
    assert taken[0].rows != taken[2].rows
    assert len(set(taken[0].rows)) == 10 and list(taken[0].rows) == sorted(taken[0].rows)
    assert questions(taken[0]) == [str(row) for row in taken[0].rows]


def test_a_limit_above_the_size_takes_all(tmp_path: Path) -> None:
    assert load_source(numbered(tmp_path, 5, limit=9), Split.TRAIN).rows == (0, 1, 2, 3, 4)


def test_synthetic_problems_for_training_and_evaluation_are_disjoint() -> None:
    counts = {"source": "chain_arithmetic", "counts": {"known": 40, "unknowable": 20}}
    sets = load_problem_sets(DataSettings.model_validate({"train": counts, "evaluation": [counts]}))
    assert len(sets.train.problems) == len(sets.evaluation[0].problems) == 60
    assert {problem.question for problem in sets.train.problems}.isdisjoint(questions(sets.evaluation[0]))
    assert sets.evaluation[0].kinds == ("known", "unknowable")


def test_problems_do_not_depend_on_the_order_in_which_their_counts_are_written() -> None:
    counts = {Kind.UNKNOWABLE: 20, Kind.KNOWN: 20, Kind.TEACHER_KNOWN: 20}
    found = [
        load_source(ChainArithmeticSource(counts=each, limit=10), Split.TRAIN).problems
        for each in (counts, dict(reversed(counts.items())))
    ]
    assert found[0] == found[1]


def test_sources_of_a_warmup_that_is_not_done_are_not_read_and_others_are_named(tmp_path: Path) -> None:
    plain = {"source": "chain_arithmetic", "counts": {"known": 4}}
    missing = {"source": "file", "path": str(tmp_path / "none.jsonl"), "kind": "x"}
    data = DataSettings.model_validate({"train": plain, "warmup": [plain, missing], "evaluation": [plain]})
    assert load_problem_sets(data, warms_up=False).warmup == ()
    with pytest.raises(DataError, match=r"^data\.warmup\.1: .*none\.jsonl"):
        load_problem_sets(data)


def test_the_warmup_has_sources_of_its_own_disjoint_from_evaluation() -> None:
    plain = {"source": "chain_arithmetic", "counts": {"known": 40}}
    postfix = plain | {"form": "postfix", "kind_prefix": "postfix/"}
    settings = {"train": plain, "warmup": [plain, postfix], "evaluation": [plain, postfix]}
    sets = load_problem_sets(DataSettings.model_validate(settings))
    assert [problem.kind for found in sets.warmup for problem in found.problems] == ["known"] * 40 + [
        "postfix/known"
    ] * 40
    evaluated = {problem.question for found in sets.evaluation for problem in found.problems}
    assert evaluated.isdisjoint(problem.question for found in sets.warmup for problem in found.problems)
    assert [record["problems"] for record in sets.record()["warmup"]] == [40, 40]


def test_evaluation_sets_keep_their_order_and_how_they_are_answered(tmp_path: Path) -> None:
    own = {"source": "file", "path": numbered(tmp_path, 3).path, "kind": "own", "samples": 32}
    own["sampling"] = {"temperature": 0.6}
    chain = {"source": "chain_arithmetic", "counts": {"known": 2}}
    sets = load_problem_sets(DataSettings.model_validate({"train": chain, "evaluation": [own, chain]}))
    assert [(found.name, found.samples_per_problem) for found in sets.evaluation] == [
        ("own", 32),
        ("chain_arithmetic", 1),
    ]
    assert sets.evaluation[0].sampling is not None and sets.evaluation[0].sampling.temperature == 0.6
    assert sets.evaluation[1].sampling is None
    assert [[problem.kind for problem in found.problems] for found in sets.evaluation] == [["own"] * 3, ["known"] * 2]


def test_the_record_names_every_row_taken(tmp_path: Path) -> None:
    lines = [GOOD, GOOD, "{", GOOD]
    settings = source(tmp_path, *lines, bad_rows="skip").model_dump()
    sets = load_problem_sets(DataSettings.model_validate({"train": settings, "evaluation": [settings]}))
    record = json.loads(json.dumps(sets.record()))
    assert record["train"]["rows"] == [[0, 1], [3, 3]]
    assert record["train"]["skipped"] == list(sets.train.skipped)
    assert record["evaluation"][0] == record["train"] | {"samples": 1, "sampling": None}


@pytest.mark.parametrize(
    ("evaluation", "right"),
    [
        ([], "give at least one source"),
        ([{"source": "chain_arithmetic", "counts": {"known": 1}}] * 2, "would be reported under one name: known"),
        ([{"source": "file", "path": "a.jsonl", "kind": "all"}], "'all' is the name of the results on all problems"),
        ([{"source": "benchmark", "name": "gsm9k"}], "gsm8k"),
    ],
)
def test_evaluation_sources_that_cannot_be_told_apart_are_refused(evaluation: object, right: str) -> None:
    train = {"source": "chain_arithmetic", "counts": {"known": 1}}
    with pytest.raises(ValidationError, match=right):
        DataSettings.model_validate({"train": train, "evaluation": evaluation})


def test_a_training_source_has_no_samples() -> None:
    train = {"source": "chain_arithmetic", "counts": {"known": 1}}
    with pytest.raises(ValidationError, match="samples"):
        DataSettings.model_validate({"train": train | {"samples": 2}, "evaluation": [train]})


def test_a_prompt_that_is_too_long_stops_with_its_row_or_is_skipped(tmp_path: Path) -> None:
    stopping = load_source(numbered(tmp_path, 3), Split.TRAIN)
    skipping = load_source(numbered(tmp_path, 3, bad_rows="skip"), Split.TRAIN)
    right = "problems.jsonl, row 2: the prompt has 11 tokens, and there is room for 10"
    with pytest.raises(DataError, match=right):
        check_prompt_lengths(stopping, [10, 11, 3], 10)
    kept = check_prompt_lengths(skipping, [10, 11, 3], 10)
    assert (kept.rows, questions(kept)) == ((0, 2), ["0", "2"])
    assert kept.skipped[0].endswith(right)
    with pytest.raises(DataError, match="algebra: no prompt has at most 2 tokens"):
        check_prompt_lengths(skipping, [10, 11, 3], 2)


@given(st.builds(Problem, st.text(), st.text(), st.text(), st.sampled_from(["free", "option"])))
def test_a_problem_comes_back_from_the_filters_file(problem: Problem) -> None:
    assert Problem(**json.loads(json.dumps(asdict(problem)))) == problem


def test_a_synthetic_source_says_how_long_its_problems_are_how_they_are_written_and_what_they_are_called() -> None:
    source = ChainArithmeticSource(
        counts={Kind.GUESSABLE: 3}, lengths=(5,), form=Form.POSTFIX, kind_prefix="long-postfix/"
    )
    found = load_source(source, Split.EVALUATION).problems
    assert [problem.kind for problem in found] == ["long-postfix/guessable"] * 3
    chains = [chain_of(problem.question) for problem in found]
    assert {(chain.form, len(chain.steps), chain.split) for chain in chains} == {(Form.POSTFIX, 5, Split.EVALUATION)}


def test_more_synthetic_problems_than_there_are_is_reported_with_the_key() -> None:
    with pytest.raises(DataError, match=r"^chain_arithmetic: counts\.teacher_known = 501: .* there are only"):
        load_source(ChainArithmeticSource(counts={Kind.TEACHER_KNOWN: 501}, lengths=(1,)), Split.EVALUATION)


@pytest.mark.parametrize("key", ["data.train", "data.warmup.0", "data.evaluation.0"])
def test_a_source_without_enough_problems_is_named_with_its_place_in_the_experiment(key: str) -> None:
    few = {"source": "chain_arithmetic", "counts": {"known": 2}}
    many = {"source": "chain_arithmetic", "counts": {"teacher_known": 10_000}, "lengths": [1]}
    keys = ("data.train", "data.warmup.0", "data.evaluation.0")
    train, warmup, evaluation = (many if key == one else few for one in keys)
    data = DataSettings.model_validate({"train": train, "warmup": [warmup], "evaluation": [evaluation]})
    with pytest.raises(DataError, match=rf"^{key}: chain_arithmetic: counts.teacher_known = 10000: "):
        load_problem_sets(data)
