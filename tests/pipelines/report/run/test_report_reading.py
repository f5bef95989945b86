"""Reading run directories."""

import json
from pathlib import Path

import pytest

from pipelines.report.run.reading import RunReadError, read_run


def append(path: Path, *records: object) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def test_run_has_name_seed_and_all_records(chain_run: Path) -> None:
    run = read_run(chain_run)
    assert (run.name, run.seed, run.steps_done) == ("chain", "7", 24)
    assert len(run.rows) == 50 + 24
    assert len(run.traces) == 3
    assert run.remarks == ()


def test_traces_of_earlier_versions_have_fields_that_are_not_read(chain_run: Path) -> None:
    before = read_run(chain_run).traces
    path = chain_run / "traces.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("")
    append(path, *({"stage": "evaluate", **row, "reward": None} for row in rows))
    assert read_run(chain_run).traces == before


def test_half_of_a_character_in_a_record_does_not_keep_the_page_from_being_written(chain_run: Path) -> None:
    path = chain_run / "traces.jsonl"
    path.write_text(path.read_text().replace('"problem": "', '"problem": "\\ud800 \\ud83d\\ude00 '))
    problems = [trace.problem for trace in read_run(chain_run).traces]
    assert all(problem.startswith("? \U0001f600 ") for problem in problems) and len(problems) == 3


def test_kinds_of_chain_arithmetic_come_in_their_order_with_all_last(chain_run: Path) -> None:
    assert read_run(chain_run).kinds == ("known", "teacher_known", "unknowable", "all")


def test_kinds_of_benchmarks_come_as_in_the_file(benchmark_run: Path) -> None:
    assert read_run(benchmark_run).kinds == ("minerva", "math500", "gsm8k", "olympiad", "aime25", "aime24")


def test_later_values_of_a_step_count(chain_run: Path) -> None:
    append(chain_run / "metrics.jsonl", {"stage": "grpo", "step": 5, "time_s": 900.0, "metrics": {"reward/mean": 42.0}})
    run = read_run(chain_run)
    steps, rewards = run.series("reward/mean")
    assert steps.tolist() == list(range(1, 25))
    assert rewards[4] == 42.0
    assert len(run.series("learner/kl")[0]) == 24


def test_last_record_of_an_evaluation_counts(chain_run: Path) -> None:
    before = read_run(chain_run)
    record = json.loads((chain_run / "evaluations.jsonl").read_text().splitlines()[0])
    append(chain_run / "evaluations.jsonl", record | {"accuracy": 0.125})
    after = read_run(chain_run)
    assert len(after.evaluations) == len(before.evaluations)
    assert after.evaluated("student", "known")[0].accuracy == 0.125


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluations.jsonl", "traces.jsonl"])
def test_torn_last_line_is_ignored(chain_run: Path, name: str) -> None:
    whole = read_run(chain_run)
    with (chain_run / name).open("a") as file:
        file.write('{"stage": "grpo", "st')
    assert read_run(chain_run) == whole


def test_torn_line_in_the_middle_is_skipped_with_a_remark(chain_run: Path) -> None:
    path = chain_run / "metrics.jsonl"
    lines = path.read_text().splitlines()
    lines[60] = lines[60][:40]
    path.write_text("\n".join(lines) + "\n")
    run = read_run(chain_run)
    assert len(run.rows) == 73
    assert "metrics.jsonl line 61" in run.remarks[0]


def test_values_that_are_null_or_not_finite_are_left_out(metrics_only) -> None:
    values = [0.5, None, float("nan"), 0.75]
    records = [
        {"stage": "grpo", "step": i, "time_s": float(i), "metrics": {"reward/mean": value}}
        for i, value in enumerate(values)
    ]
    steps, rewards = read_run(metrics_only(records)).series("reward/mean")
    assert (steps.tolist(), rewards.tolist()) == ([0, 3], [0.5, 0.75])


def test_missing_metrics_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunReadError, match=r"metrics\.jsonl is missing"):
        read_run(tmp_path)


def test_record_of_a_wrong_type_names_file_line_and_key(chain_run: Path) -> None:
    append(chain_run / "metrics.jsonl", {"stage": "grpo", "step": "soon", "time_s": 1.0, "metrics": {}})
    with pytest.raises(RunReadError, match=r"metrics\.jsonl line 75, step: .*'soon'"):
        read_run(chain_run)


def test_run_without_experiment_is_named_after_its_directory(chain_run: Path) -> None:
    (chain_run / "experiment.yaml").unlink()
    run = read_run(chain_run)
    assert (run.name, run.seed, run.configuration) == ("chain", None, None)


def test_all_evaluations_of_a_step_are_kept(metrics_only) -> None:
    records = [
        {"stage": "evaluate", "step": 0, "time_s": 1.0 + i, "metrics": {f"{policy}/known/accuracy": 0.25 * (i + 1)}}
        for i, policy in enumerate(("student", "teacher", "relay"))
    ]
    again = {"stage": "evaluate", "step": 0, "time_s": 9.0, "metrics": {"relay/known/accuracy": 1.0}}
    run = read_run(metrics_only([*records, again]))
    (row,) = run.rows
    assert row.metrics == {
        "student/known/accuracy": 0.25,
        "teacher/known/accuracy": 0.5,
        "relay/known/accuracy": 1.0,
    }
    assert row.time_s == 9.0
