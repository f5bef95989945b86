"""What a study reads back from the folders that its runs left."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.analysis.results import OraclePoint
from pipelines.study.collect import StudyResultsError, read_results
from pipelines.study.plan import load_study

KINDS = ["known", "known", "teacher_known", "teacher_known"]


@pytest.fixture
def study(write_study):
    return load_study(write_study({"hard": ["teacher_known"], "prices": {"teacher": {"input": 1, "output": 2}}}))


def test_answers_come_with_their_run_and_seconds(study, answers, leave_answers) -> None:
    given = {
        "base": answers([True, False, False, False], KINDS),
        "relay": answers([True, True, True, False], KINDS),
        "grpo": answers([True, True, False, False], KINDS),
    }
    for system, table in given.items():
        leave_answers(study, system, table)
    results = read_results(study)
    assert results.missing == {}
    assert {name: (found.run, found.seconds) for name, found in results.systems.items()} == {
        "base": ("relay", 12.5),
        "relay": ("relay", 12.5),
        "grpo": ("grpo", 12.5),
    }
    for system, table in given.items():
        assert results.systems[system].table.correct.tolist() == table.correct.tolist()
    assert results.groups.hard == {"teacher_known"}
    assert results.prices.teacher.output == 2
    assert results.runs == {name: run.directory for name, run in study.runs.items()}
    assert results.oracle == {}


def test_what_is_missing_says_why(study, answers, leave_answers) -> None:
    folder = leave_answers(study, "base", answers([True] * 4, KINDS))
    (folder / "answers.parquet").write_bytes(b"torn")
    results = read_results(study, failed={"grpo": "was ended by SIGKILL"})
    assert results.systems == {}
    assert results.missing["grpo"] == "grpo/final/student: the run was ended by SIGKILL"
    assert results.missing["relay"] == "relay/final/relay: the run has not finished that evaluation"
    assert "answers.parquet: cannot be read as Parquet" in results.missing["base"]


def test_answers_of_a_failed_runs_finished_evaluation_count(study, answers, leave_answers) -> None:
    leave_answers(study, "base", answers([True] * 4, KINDS))
    assert list(read_results(study, failed={"relay": "failed with status 1"}).systems) == ["base"]


def test_answers_of_before_a_change_of_settings_are_not_those_of_after(write_study, answers, leave_answers) -> None:
    file = write_study()
    study = load_study(file)
    for system in ("base", "relay"):
        leave_answers(study, system, answers([True] * 4, KINDS))
    changed = load_study(file, ["overrides.evaluation.limits.max_calls=1"])
    results = read_results(changed)
    assert list(results.systems) == ["base"], "what does not depend on the setting counts as before"
    assert results.missing["relay"] == "relay/final/relay: the run has results of other settings"
    failed = read_results(changed, failed={"relay": "failed with status 1"})
    assert failed.missing["relay"] == "relay/final/relay: the run failed with status 1"


def test_a_record_of_another_kind_is_a_missing_system(study, answers, leave_answers) -> None:
    folder = leave_answers(study, "relay", answers([True] * 4, KINDS))
    (folder / "done.json").write_text(json.dumps({"problems": 4}))
    assert "done.json: not the record of an evaluation" in read_results(study).missing["relay"]


def test_the_oracle_is_that_of_the_relay_students_evaluation(study, answers, leave_answers) -> None:
    table = answers([True] * 4, KINDS)
    leave_answers(study, "base", table, {"known": (0.1, 0.2)})
    assert read_results(study).oracle == {"known": OraclePoint(accuracy=0.1, call_ratio=0.2)}
    leave_answers(study, "relay", table, {"known": (1.0, 0.0), "all": (0.9, 0.05)})
    assert read_results(study).oracle == {"known": OraclePoint(1.0, 0.0), "all": OraclePoint(0.9, 0.05)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": np.asarray(["question 0", "question 1", "another", "question 3"])}, "problem 2 of base is 'question 2'"),
        ({"gold": np.asarray(["1", "1", "1", "7"])}, "problem 3 of base .* and of grpo it is 'question 3' .*gold '7'"),
        ({"kind": np.asarray(["known"] * 4)}, "problem 2 of base .*teacher_known.* it is 'question 2' .known"),
        ({"problem": np.asarray([0, 1, 2, 4])}, "problem 3 of base .* of grpo it is not answered"),
    ],
    ids=["question", "gold", "kind", "number"],
)  # fmt: skip
def test_answers_to_other_problems_cannot_be_compared(study, answers, leave_answers, change, message: str) -> None:
    leave_answers(study, "base", answers([True] * 4, KINDS))
    leave_answers(study, "grpo", answers([True] * 4, KINDS, **change))
    with pytest.raises(StudyResultsError, match=message):
        read_results(study)
