"""tables.json: the numbers of a study, equal for equal answers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.study.collect import read_results
from pipelines.study.plan import load_study
from pipelines.study.tables import tables, write_tables

KINDS = ["known", "known", "known", "teacher_known"]


@pytest.fixture
def study(write_study):
    return load_study(write_study({"hard": ["teacher_known"]}))


@pytest.fixture
def results(study, answers, leave_answers):
    leave_answers(study, "base", answers([True, False, False, False], KINDS), {"all": (1.0, 0.125)})
    call = {"positions": 3, "requested": 4, "written": 4, "prompt_tokens": 9, "cached_tokens": 0}
    columns = {f"call_{name}": ((), (), (), (value,)) for name, value in call.items()}
    columns |= {"calls": np.asarray([0, 0, 0, 1]), "teacher_tokens": np.asarray([0, 0, 0, 4])}
    leave_answers(study, "relay", answers([True, True, False, True], KINDS, **columns))
    return read_results(study)


def test_every_system_has_its_numbers_in_every_scope(results) -> None:
    systems = tables(results, 200)["systems"]
    assert list(systems) == ["base", "relay"]
    relay = systems["relay"]
    assert {scope: (of["problems"], of["accuracy"]["value"], of["call_ratio"]["value"]) for scope, of in relay.items()} == {
        "known": (3, pytest.approx(2 / 3, abs=1e-6), 0.0),
        "teacher_known": (1, 1.0, 0.4),
        "all": (4, 0.75, 0.1),
        "average": (4, pytest.approx(5 / 6, abs=1e-6), 0.2),
    }  # fmt: skip
    interval = relay["known"]["accuracy"]
    assert 0 <= interval["low"] < interval["value"] < interval["high"] <= 1


def test_findings_have_verdicts_or_say_what_they_lack(results) -> None:
    written = tables(results, 200)
    assert written["findings"]["relay_above_grpo"]["reason"] == "not evaluated: grpo"
    assert written["findings"]["relay_above_grpo"]["verdict"] == "cannot be told"
    assert written["missing"]["grpo"].startswith("grpo/final/student")
    assert written["oracle"] == {"all": {"accuracy": 1.0, "call_ratio": 0.125}}


def test_a_decided_finding_shows_the_numbers_that_it_rests_on(study, answers, leave_answers, results) -> None:
    leave_answers(study, "grpo", answers([False, False, False, False], KINDS))
    finding = tables(read_results(study), 200)["findings"]["relay_above_grpo"]
    assert finding["verdict"] == "shows"
    (evidence,) = finding["evidence"]
    assert evidence["value"] == pytest.approx(5 / 6, abs=1e-6)
    assert evidence["low"] > 0


def test_nothing_at_all_is_a_table_too(study) -> None:
    written = tables(read_results(study), 200)
    assert written["systems"] == {}
    assert set(written["missing"]) == {"base", "relay", "grpo"}


def test_two_studies_of_equal_answers_write_equal_files(results, tmp_path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    write_tables(results, first, 200)
    write_tables(results, second, 200)
    assert first.read_bytes() == second.read_bytes()
    assert json.loads(first.read_bytes())["study"] == "pair"
    assert str(tmp_path) not in first.read_text()
