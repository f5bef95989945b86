"""The study command: its report is written whatever failed, and its status says whether something did."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.__main__ import main
from pipelines.study import runner
from pipelines.study.outcome import StudyError, run_study
from pipelines.study.plan import load_study

KINDS = ["known", "teacher_known"]


@pytest.fixture
def reported(monkeypatch) -> list[object]:
    """Return the results that the report was asked to show; the page itself is of no matter here."""
    results: list[object] = []

    def write_comparison(found: object, path: Path, resamples: int) -> None:
        results.append(found)
        path.write_text("page")

    module = ModuleType("pipelines.report.comparison")
    module.write_comparison = write_comparison  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return results


def test_a_study_with_a_failed_run_reports_the_others_and_names_it(
    write_study, answers, leave_answers, reported
) -> None:
    study = load_study(write_study())
    leave_answers(study, "relay", answers([True, False], KINDS))
    with pytest.raises(StudyError) as caught:
        run_study(study, (sys.executable, "-c", "import sys; sys.exit('grpo' in sys.argv[1])"))
    assert "1 of 2 runs are not finished" in str(caught.value)
    assert "  grpo failed with status 1" in str(caught.value)
    (results,) = reported
    assert list(results.systems) == ["relay"]
    assert results.missing["grpo"] == "grpo/final/student: the run failed with status 1"
    assert (study.directory / "report.html").read_text() == "page"
    assert json.loads((study.directory / "tables.json").read_text())["missing"]["grpo"].endswith("status 1")


def test_the_command_ends_with_status_1_if_a_run_failed_and_0_if_not(
    write_study, reported, monkeypatch, capsys
) -> None:
    path = str(write_study())
    for command, status in (("import sys; sys.exit(5)", 1), ("", 0)):
        monkeypatch.setattr("pipelines.study.outcome.run_all", with_command((sys.executable, "-c", command)))
        assert main(["study", path]) == status
    printed = capsys.readouterr()
    assert "relay failed with status 5" in printed.err and "grpo failed with status 5" in printed.err
    assert "report: " in printed.out


def with_command(command):
    return lambda study, _: runner.run_all(study, command)


def test_the_report_alone_runs_nothing(write_study, answers, leave_answers, reported, monkeypatch, capsys) -> None:
    path = write_study()
    leave_answers(load_study(path), "base", answers([True, False], KINDS))
    monkeypatch.setattr("pipelines.study.outcome.run_all", None)
    assert main(["study", str(path), "--report-only"]) == 0
    assert "no answers of relay: relay/final/relay: the run has not finished that evaluation" in capsys.readouterr().out
    assert list(reported[0].systems) == ["base"]


def test_answers_to_different_problems_end_with_status_1(write_study, answers, leave_answers, reported, capsys) -> None:
    path = write_study()
    leave_answers(load_study(path), "base", answers([True, False], KINDS))
    leave_answers(load_study(path), "grpo", answers([True], KINDS[:1]))
    assert main(["study", str(path), "--report-only"]) == 1
    assert "problem 1 of base" in capsys.readouterr().err
    assert reported == []
