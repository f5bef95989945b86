"""The verdict and the headline table."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.report.run.reading import read_run
from pipelines.report.run.summary import AnswerShare, ResultCell, headline_table, run_verdict


def edit_evaluations(run_dir: Path, change: Callable[[dict], dict | None]) -> None:
    path = run_dir / "evaluations.jsonl"
    changed = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(record) + "\n" for record in changed if record))


def plain(run_dir: Path) -> str:
    return run_verdict(read_run(run_dir)).text.replace("\u00a0", " ")


def test_every_number_of_the_table_is_in_the_files(chain_run: Path) -> None:
    records = [json.loads(line) for line in (chain_run / "evaluations.jsonl").read_text().splitlines()]
    table = headline_table(read_run(chain_run))
    assert table.columns == ("known to both", "teacher only", "unknowable", "all problems")
    names = {"before training": "base", "after warm-up": "warmup", "after GRPO": "final"}
    for row in table.rows[:-1]:
        for kind, cell in zip(("known", "teacher_known", "unknowable", "all"), row.cells, strict=True):
            policy = row.policy.split()[0].lower()
            (record,) = [r for r in records if (r["name"], r["policy"], r["kind"]) == (names[row.phase], policy, kind)]
            ratio = None if policy == "student" else record["call_ratio"]
            assert replace(cell, change=None) == ResultCell(
                record["accuracy"], tuple(record["accuracy_ci95"]), ratio, record["problems"]
            )
    assert [(row.policy, row.phase) for row in table.rows] == [
        ("Student alone", "before training"),
        ("Student alone", "after GRPO"),
        ("Teacher alone", "before training"),
        ("Relay", "after warm-up"),
        ("Relay", "after GRPO"),
        ("Oracle", "best possible"),
    ]
    assert table.rows[-1].cells[1] == ResultCell(0.99, None, 0.081)


def test_table_of_benchmarks_ends_in_the_unweighted_average(benchmark_run: Path) -> None:
    table = headline_table(read_run(benchmark_run))
    assert table.columns[-1] == "average of kinds"
    average = table.rows[-1].cells[-1]
    assert average is not None
    assert average.accuracy == pytest.approx((0.4375 + 0.814 + 0.863 + 0.557 + 0.127 + 0.173) / 6)
    assert average.call_ratio == pytest.approx((0.0107 + 0.009 + 0.004 + 0.014 + 0.021 + 0.019) / 6)


def test_row_never_mixes_evaluations(benchmark_run: Path) -> None:
    edit_evaluations(benchmark_run, lambda r: None if r["kind"] == "aime24" and r["name"] == "final" else r)
    run = read_run(benchmark_run)
    student, relay = (row for row in headline_table(run).rows if row.phase == "after GRPO")
    assert (student.step, student.cells[-2:]) == (40, (None, None))
    earlier = [e.accuracy for kind in run.kinds for e in run.evaluated("relay", kind) if e.name == "grpo-0020"]
    assert relay.step == 20
    assert [cell.accuracy for cell in relay.cells[:-1] if cell] == earlier


def test_before_the_end_the_last_evaluation_stands_for_grpo(chain_run: Path) -> None:
    edit_evaluations(chain_run, lambda r: None if r["name"] == "final" else r)
    run = read_run(chain_run)
    (row,) = [row for row in headline_table(run).rows if row.policy == "Relay" and row.phase == "after GRPO"]
    assert row.cells[1] is not None
    assert row.cells[1].accuracy == run.evaluated("relay", "teacher_known")[-1].accuracy
    assert plain(chain_run).startswith("So far, at GRPO step 16, the relay student solves")


def test_a_cell_tells_how_it_differs_from_the_student_before_training(collapsed_run: Path) -> None:
    table = headline_table(read_run(collapsed_run))
    (relay,) = [row for row in table.rows if row.policy == "Relay" and row.phase == "after GRPO"]
    gains = [cell.change and round(cell.change.gain, 3) for cell in relay.cells if cell]
    assert gains == [-0.32, 0.92, None, 0.31]
    (base,) = [row for row in table.rows if row.policy == "Student alone" and row.phase == "before training"]
    assert [cell.change for cell in base.cells if cell] == [None] * 4


def test_every_evaluation_tells_cut_off_answers_and_failed_calls(collapsed_run: Path) -> None:
    table = headline_table(read_run(collapsed_run))
    (relay,) = [row for row in table.rows if row.policy == "Relay" and row.phase == "after GRPO"]
    assert relay.cut_off == AnswerShare(pytest.approx((0.36 + 0.02 + 0.02) / 3), 0.36, "known")
    assert relay.failed_calls == pytest.approx(0.01)
    assert [row.failed_calls for row in table.rows if row.policy in ("Student alone", "Teacher alone")] == [None] * 3
    assert all(row.cut_off for row in table.rows if row.policy != "Oracle")


def test_a_run_without_grpo_is_not_labelled_as_after_it(chain_run: Path) -> None:
    edit_evaluations(chain_run, lambda r: r | {"step": 0} if r["name"] in ("base", "final") else None)
    phases = {row.phase for row in headline_table(read_run(chain_run)).rows if row.policy != "Oracle"}
    assert phases == {"before training", "after warm-up"}
    records = [json.loads(line) for line in (chain_run / "metrics.jsonl").read_text().splitlines()]
    kept = [json.dumps(record) + "\n" for record in records if record["stage"] != "warmup"]
    (chain_run / "metrics.jsonl").write_text("".join(kept))
    assert {row.phase for row in headline_table(read_run(chain_run)).rows if row.policy != "Oracle"} == {
        "before training"
    }


def test_a_run_that_trains_nothing_has_no_phases(chain_run: Path) -> None:
    edit_evaluations(chain_run, lambda r: r | {"step": 0} if r["name"] in ("base", "final") else None)
    (chain_run / "metrics.jsonl").write_text("")
    (chain_run / "experiment.yaml").write_text("warmup: {enabled: false}\ngrpo: {enabled: false}\n")
    rows = headline_table(read_run(chain_run)).rows
    assert [row.label for row in rows] == ["Student alone", "Teacher alone", "Relay", "Oracle, best possible"]


def test_answers_without_a_box_are_told_where_they_were_counted(chain_run: Path) -> None:
    shares = {"known": 0.5, "teacher_known": 0.0, "unknowable": 0.25, "all": 0.25}
    edit_evaluations(chain_run, lambda r: r | {"no_box_share": shares[r["kind"]]} if r["name"] == "base" else r)
    rows = {row.label: row.no_box for row in headline_table(read_run(chain_run)).rows}
    assert rows["Student alone, before training"] == AnswerShare(0.25, 0.5, "known")
    assert rows["Relay, after GRPO"] is None


def test_the_verdict_names_the_worst_change_beside_the_best(chain_run: Path, collapsed_run: Path) -> None:
    good, bad = (run_verdict(read_run(path)) for path in (chain_run, collapsed_run))
    assert (good.tone, bad.tone) == ("good", "mixed")
    assert bad.headline.replace("\u00a0", " ") == (
        "The relay student solves 95.0 % of problems that need the teacher (+92.0 points), but 64.0 % of known problems "
        "(\u221232.0 points)."
    )


def test_verdict_before_any_evaluation_speaks_of_the_rollouts(chain_run: Path) -> None:
    (chain_run / "evaluations.jsonl").unlink()
    assert plain(chain_run).startswith("No evaluation has finished yet; at GRPO step 24, ")
