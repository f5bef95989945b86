"""The benchmarks' frame: paired runs, ratios, goals, the results file and the page."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.__main__ import BEGIN, END, questions, render
from benchmarks.harness import Goal, Row, paired, report, row_from, table, timed
from benchmarks.machine import Machine, this_machine


def scripted(name: str, values: list[float], calls: list[str]) -> Callable[[], float]:
    left = iter(values)

    def run() -> float:
        calls.append(name)
        return next(left)

    return run


def test_contestants_alternate_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    old = scripted("old", [99.0, 2.0, 4.0, 2.0], calls)
    new = scripted("new", [99.0, 1.0, 1.0, 3.0], calls)
    rows = paired({"old": old, "new": new}, runs=3)
    assert calls == ["new", "old", "old", "new", "new", "old", "old", "new"]
    assert [list(row.values) for row in rows] == [[2.0, 4.0, 2.0], [1.0, 1.0, 3.0]]


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    calls: list[str] = []
    rows = paired(
        {"old": scripted("old", [2.0, 4.0, 2.0], calls), "new": scripted("new", [1.0, 1.0, 3.0], calls)},
        runs=3,
        warmups=0,
    )
    assert rows[0].ratio is None
    assert list(rows[1].ratios) == [0.5, 0.25, 1.5]
    assert rows[1].ratio == 0.5


def test_one_contestant_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="two contestants"):
        paired({"alone": lambda: 1.0})


def test_a_timed_action_gives_seconds() -> None:
    assert 0 <= timed(lambda: None)() < 1


@pytest.mark.parametrize(
    ("goal", "met"),
    [(Goal("value", "<=", 2.0), True), (Goal("ratio", "<=", 0.4), False), (Goal("ratio", ">=", 0.4), True)],
)
def test_a_goal_is_met_or_said_to_be_missed(goal: Goal, met: bool) -> None:
    row = Row("new", "s", [1.0, 2.0, 3.0], [0.5, 0.5, 0.5], "old", goal)
    assert row.met is met
    assert table([row]).endswith(f"| {goal}: {'met' if met else 'not met'} |")


def test_results_are_merged_by_benchmark_and_read_back(tmp_path: Path) -> None:
    row = Row("new", "s", [1.0, 2.0, 3.0], [0.5, 0.5, 0.5], "old", Goal("ratio", "<=", 1.0))
    options = Namespace(quick=False, results=tmp_path)
    report("first", [row], options, ["a note"])
    report("second", [row], options)
    report("first", [row, row], options)
    (path,) = tmp_path.iterdir()
    stored = json.loads(path.read_text())
    assert path.stem == this_machine().name
    assert {name: len(entry["rows"]) for name, entry in stored["benchmarks"].items()} == {"first": 2, "second": 1}
    assert row_from(stored["benchmarks"]["second"]["rows"][0]) == row


def test_a_quick_run_saves_nothing(tmp_path: Path) -> None:
    report("first", [Row("new", "s", [1.0])], Namespace(quick=True, results=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_page_keeps_its_text_and_gets_the_tables(tmp_path: Path) -> None:
    report("first", [Row("new", "s", [1.0])], Namespace(quick=False, results=tmp_path), ["a note"])
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    render(page, tmp_path)
    once = page.read_text()
    assert once.startswith("before\n") and once.endswith("\nafter\n") and "old" not in once
    assert "| new | 1 s |" in once and "* a note" in once
    render(page, tmp_path)
    assert page.read_text() == once


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="needs the lines"):
        render(page, tmp_path)


def test_a_machine_is_named_after_what_decides_its_speed() -> None:
    assert Machine("Intel(R) Xeon(R) CPU @ 2.20GHz", 2, 24, ()).name == "intel-xeon-2-cores"
    assert Machine("any", 16, 128, ("NVIDIA H100 80GB HBM3",)).name == "nvidia-h100-80gb-hbm3-x1"


def test_every_question_file_has_a_main() -> None:
    folder = Path(__file__).parents[2] / "benchmarks"
    lacking = [name for name in questions() if "\ndef main() -> " not in (folder / f"{name}.py").read_text()]
    assert lacking == []
