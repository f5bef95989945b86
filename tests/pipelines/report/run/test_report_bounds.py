"""Records with numbers that no run can have: the report shows the rest, and says what it left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipelines.__main__ import main
from pipelines.report.run.page import render
from pipelines.report.run.reading import RunReadError, read_run

EXTREMES = [0, -1, 1e308, -1e308, 5e-324, float("inf"), float("nan"), 10**19, 10**400, -(10**400)]


def changed(path: Path, change: Callable[[dict[str, Any]], object], line: int = -1) -> None:
    lines = path.read_text().splitlines()
    record = json.loads(lines[line])
    change(record)
    lines[line] = json.dumps(record)
    path.write_text("\n".join(lines) + "\n")


def numbers(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of every number in a record."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield place
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(item, (*place, key))


def put(place: tuple[str | int, ...], value: object) -> Callable[[dict[str, Any]], None]:
    def change(record: Any) -> None:
        for key in place[:-1]:
            record = record[key]
        record[place[-1]] = value

    return change


@pytest.mark.parametrize("file", ["metrics", "evaluations", "traces", "alarms"])
def test_no_number_of_a_record_breaks_the_page(collapsed_run: Path, file: str) -> None:
    path = collapsed_run / f"{file}.jsonl"
    whole = path.read_text()
    places = list(numbers(json.loads(whole.splitlines()[-1])))
    metrics = [place for place in places if place[0] == "metrics"]
    for place in [place for place in places if place not in metrics[1:]]:  # one metric stands for all
        for value in EXTREMES:
            changed(path, put(place, value))
            with suppress(RunReadError):  # a number that is not of the field's type
                assert "</html>" in render(read_run(collapsed_run), [])
            path.write_text(whole)


def test_a_report_with_such_numbers_is_written_and_says_what_it_left_out(
    chain_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, evaluations = chain_run / "metrics.jsonl", chain_run / "evaluations.jsonl"
    for line, sign in ((-1, 1), (-2, -1)):
        changed(metrics, put(("metrics", "learner/loss"), sign * 1e308), line)
        changed(metrics, put(("metrics", "reward/mean"), sign * 1e200), line)
        changed(metrics, put(("metrics", "learner/grad_norm"), sign * 1e99), line)  # this can be drawn
    changed(evaluations, put(("samples",), 0))
    assert main(["report", str(chain_run)]) == 0
    page = (chain_run / "report.html").read_text()
    for remark in (
        "metrics.jsonl line 73: reward/mean (-1e+200) is larger than a figure can show; learner/loss (-1e+308) is larger",
        "metrics.jsonl line 74: reward/mean (1e+200) is larger than a figure can show; learner/loss (1e+308) is larger",
        "evaluations.jsonl line 28: samples (0) should be between 1 and 1000000000000. It is left out.",
    ):
        assert remark in page
    assert "Traceback" not in capsys.readouterr().err


def test_the_rest_of_a_row_of_metrics_stays(chain_run: Path) -> None:
    changed(chain_run / "metrics.jsonl", put(("metrics", "learner/loss"), 1e308))
    run = read_run(chain_run)
    assert len(run.series("learner/loss")[0]) == 23 and len(run.series("learner/kl")[0]) == 24


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("samples", 0),
        ("problems", -3),
        ("accuracy", 1.5),
        ("call_ratio", float("nan")),
        ("accuracy_ci95", [0.1, 1e308]),
    ],
)
def test_an_evaluation_that_cannot_be_is_left_out_and_named(chain_run: Path, field: str, value: object) -> None:
    before = len(read_run(chain_run).evaluations)
    changed(chain_run / "evaluations.jsonl", put((field,), value))
    run = read_run(chain_run)
    assert len(run.evaluations) == before - 1
    assert f": {field} (" in run.remarks[0] and run.remarks[0].endswith("It is left out.")


def test_many_faults_are_counted_and_not_all_listed(chain_run: Path) -> None:
    for line in range(1, 25):
        changed(chain_run / "metrics.jsonl", put(("metrics", "learner/loss"), 1e300), line=-line)
    remarks = read_run(chain_run).remarks
    assert len(remarks) == 21 and remarks[-1] == "The files have 4 further faults."
