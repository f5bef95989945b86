"""The verdict and the headline table."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.report.data import read_run
from pipelines.report.summary import Cell, headline_table, verdict


def edit_evaluations(run_dir: Path, change: Callable[[dict], dict | None]) -> None:
    path = run_dir / "evaluations.jsonl"
    changed = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(record) + "\n" for record in changed if record))


def plain(run_dir: Path) -> str:
    return verdict(read_run(run_dir)).replace("\u00a0", " ")


def test_every_number_of_the_table_is_in_the_files(chain_run: Path) -> None:
    records = [json.loads(line) for line in (chain_run / "evaluations.jsonl").read_text().splitlines()]
    table = headline_table(read_run(chain_run))
    assert table.columns == ("known to both", "teacher only", "unknowable", "all problems")
    names = {"before warm-up": "base", "after warm-up": "warmup", "after GRPO": "final"}
    for row in table.rows[:-1]:
        for kind, cell in zip(("known", "teacher_known", "unknowable", "all"), row.cells, strict=True):
            policy = row.policy.split()[0].lower()
            (record,) = [r for r in records if (r["name"], r["policy"], r["kind"]) == (names[row.phase], policy, kind)]
            ratio = None if policy == "student" else record["call_ratio"]
            assert cell == Cell(record["accuracy"], tuple(record["accuracy_ci95"]), ratio, record["problems"])
    assert [(row.policy, row.phase) for row in table.rows] == [
        ("Student alone", "before warm-up"),
        ("Student alone", "after GRPO"),
        ("Teacher alone", "before warm-up"),
        ("Relay", "after warm-up"),
        ("Relay", "after GRPO"),
        ("Oracle", "best possible"),
    ]
    assert table.rows[-1].cells[1] == Cell(0.99, None, 0.081)


def test_table_of_benchmarks_ends_in_the_unweighted_average(benchmark_run: Path) -> None:
    table = headline_table(read_run(benchmark_run))
    assert table.columns[-1] == "average of sets"
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


def test_verdict_of_chain_arithmetic(chain_run: Path) -> None:
    assert plain(chain_run) == (
        "The relay student solves 95.0 % of problems that need the teacher, against 3.0 % alone, with 9.8 % of its "
        "tokens from the teacher; the teacher alone solves 96.0 % and the oracle reaches 99.0 % with 8.1 %."
    )


def test_verdict_of_benchmarks(benchmark_run: Path) -> None:
    assert plain(benchmark_run) == (
        "The relay student solves 49.5 % of the problems, on average over 6 sets, against 42.5 % alone, with 1.3 % of "
        "its tokens from the teacher; the teacher alone solves 54.1 %."
    )


@pytest.mark.parametrize(
    ("accuracy", "phrase"),
    [(0.031, "not clearly more than the 3.0 % it solves alone"), (0.001, "fewer than the 3.0 % it solves alone")],
)
def test_verdict_does_not_praise_a_relay_that_gains_nothing(chain_run: Path, accuracy: float, phrase: str) -> None:
    def weaken(record: dict) -> dict:
        if (record["policy"], record["kind"], record["name"]) == ("relay", "teacher_known", "final"):
            return record | {"accuracy": accuracy, "accuracy_ci95": [accuracy * 0.6, accuracy * 1.4]}
        return record

    edit_evaluations(chain_run, weaken)
    assert phrase in plain(chain_run)


def test_verdict_of_a_run_without_a_relay_speaks_of_the_student(chain_run: Path) -> None:
    edit_evaluations(chain_run, lambda r: r if r["policy"] == "student" and r["kind"] == "all" else None)
    assert plain(chain_run) == "The student solves 42.7 % of all problems alone, 44.0 % before training."


def test_verdict_before_any_evaluation_speaks_of_the_rollouts(chain_run: Path) -> None:
    (chain_run / "evaluations.jsonl").unlink()
    assert plain(chain_run).startswith("No evaluation has finished yet; at GRPO step 24, ")
