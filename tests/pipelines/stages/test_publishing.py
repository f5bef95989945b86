"""A stage's results come to the run's logs once, whoever did the stage."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipelines.experiment.tracking import TrackingSettings
from pipelines.records.evaluations import Evaluation
from pipelines.records.objective import OBJECTIVE
from pipelines.records.run_directory import RunDirectory
from pipelines.records.traces import Segment, Trace
from pipelines.records.tracking import Tracker, read_metrics
from pipelines.report.run.reading import read_run
from pipelines.stages.publishing import log_step, publish_evaluation, publish_steps, traces_file

ROW = Evaluation(
    name="final",
    step=4,
    policy="relay",
    kind="all",
    problems=2,
    samples=2,
    accuracy=0.5,
    accuracy_ci95=(0.1, 0.9),
    solved_share=0.5,
    call_ratio=0.25,
    calls_per_sample=1.0,
    with_call_share=1.0,
    failed_call_share=0.0,
    cut_off_share=0.0,
    requested_mean=2.0,
    output_tokens_mean=8.0,
    oracle_call_ratio=None,
    oracle_accuracy=None,
)
TRACE = Trace("final", 4, "relay", "sums", "1+1", "2", "2", True, (Segment("student", "2"),), ())
STAGE = "evaluate-final-relay"


def opened(path: Path) -> tuple[RunDirectory, Tracker]:
    directory = RunDirectory(path)
    return directory, Tracker(directory, TrackingSettings(mode="disabled"), {})


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    """Return a shared folder with a finished evaluation."""
    directory, _ = opened(tmp_path / "first")
    directory.share_stages({STAGE: tmp_path / "shared"})
    traces = [TRACE, replace(TRACE, problem="2+2")]
    directory.write_text(traces_file(STAGE), "".join(json.dumps(asdict(trace)) + "\n" for trace in traces))
    directory.mark_done(STAGE, {"rows": [asdict(ROW), asdict(replace(ROW, kind="sums"))]})
    return tmp_path / "shared"


def test_an_evaluation_comes_to_every_run_that_shares_it_and_once_to_each(evaluated: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        directory, tracker = opened(tmp_path / name)
        directory.share_stages({STAGE: evaluated})
        publish_evaluation(directory, tracker, STAGE)
        publish_evaluation(directory, tracker, STAGE)
        rows = directory.read_jsonl("evaluations.jsonl")
        assert [row["kind"] for row in rows] == ["all", "sums"]
        assert rows[0] == json.loads(json.dumps(asdict(ROW)))
        assert [row["problem"] for row in directory.read_jsonl("traces.jsonl")] == ["1+1", "2+2"]
        assert read_metrics(directory, "evaluate")[4]["relay/all/accuracy"] == 0.5


def test_what_a_kill_left_out_is_added(evaluated: Path, tmp_path: Path) -> None:
    directory, tracker = opened(tmp_path / "first")
    directory.append_jsonl("evaluations.jsonl", asdict(ROW))
    directory.append_jsonl("traces.jsonl", asdict(TRACE))
    publish_evaluation(directory, tracker, STAGE)
    assert [row["kind"] for row in directory.read_jsonl("evaluations.jsonl")] == ["all", "sums"]
    assert [row["problem"] for row in directory.read_jsonl("traces.jsonl")] == ["1+1", "2+2"]


def test_an_evaluation_that_is_done_anew_takes_the_place_of_the_earlier_one(evaluated: Path, tmp_path: Path) -> None:
    directory, tracker = opened(tmp_path / "first")
    publish_evaluation(directory, tracker, STAGE)
    other = replace(TRACE, name="warmup", segments=(Segment("student", "\u03c0"),))
    directory.append_jsonl("traces.jsonl", asdict(other))

    new_trace = replace(TRACE, problem="3+3")
    directory.write_text(traces_file(STAGE), "".join(json.dumps(asdict(trace)) + "\n" for trace in (TRACE, new_trace)))
    directory.mark_done(STAGE, {"rows": [asdict(replace(ROW, accuracy=0.75)), asdict(replace(ROW, kind="sums"))]})
    publish_evaluation(directory, tracker, STAGE)
    publish_evaluation(directory, tracker, STAGE)

    run = read_run(directory.path)
    assert [(row.kind, row.accuracy) for row in run.evaluations] == [("all", 0.75), ("sums", 0.5)]
    assert len(directory.read_jsonl("evaluations.jsonl")) == 3
    assert run.traces == (TRACE, other, new_trace)
    assert read_metrics(directory, "evaluate")[4]["relay/all/accuracy"] == 0.75


def test_what_an_earlier_version_published_stays_as_it_is(evaluated: Path, tmp_path: Path) -> None:
    directory, tracker = opened(tmp_path / "first")
    publish_evaluation(directory, tracker, STAGE)
    old = [{"stage": "evaluate", **row, "reward": None} for row in directory.read_jsonl("traces.jsonl")]
    directory.write_text("traces.jsonl", "".join(json.dumps(row) + "\n" for row in old))
    rows = [{**row} for row in directory.read_jsonl("evaluations.jsonl")]
    for row in rows:
        del row["no_box_share"]
    directory.write_text("evaluations.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    publish_evaluation(directory, tracker, STAGE)
    assert directory.read_jsonl("traces.jsonl") == old
    assert len(directory.read_jsonl("evaluations.jsonl")) == 2


def test_steps_that_are_done_anew_take_the_place_of_the_earlier_ones(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "first"), opened(tmp_path / "second")
    for directory, _ in (first, second):
        directory.share_stages({"grpo": tmp_path / "shared"})
    for step in (1, 2):
        log_step(*first, "grpo", step, {"reward/mean": 0.5, "learner/kl": float("nan")})
    log_step(*second, "grpo", 2, {"reward/mean": 0.75, "learner/kl": 0.25})
    publish_steps(*first, "grpo")
    publish_steps(*first, "grpo")
    assert read_metrics(first[0], "grpo")[2] == {"reward/mean": 0.75, "learner/kl": 0.25}
    assert [row["step"] for row in first[0].read_jsonl("metrics.jsonl")] == [1, 2, 2]


def test_steps_of_a_shared_stage_come_to_every_run(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "first"), opened(tmp_path / "second")
    for directory, _ in (first, second):
        directory.share_stages({"grpo": tmp_path / "shared"})
    log_step(*first, "grpo", 1, {"reward/mean": 0.5, "learner/kl": float("nan")})
    log_step(*second, "grpo", 2, {"reward/mean": 0.75})  # the second run went on where the first one was killed
    log_step(*second, "grpo", 2, {"reward/mean": 1.0})
    for directory, tracker in (first, second):
        publish_steps(directory, tracker, "grpo")
        publish_steps(directory, tracker, "grpo")
        assert read_metrics(directory, "grpo") == {
            1: {"reward/mean": 0.5, "learner/kl": None},
            2: {"reward/mean": 1.0},
        }
    assert [row["step"] for row in first[0].read_jsonl("metrics.jsonl")] == [1, 2]


@pytest.mark.parametrize(("budget", "value"), [(0.25, 0.5), (0.1, 0.2), (None, None)])
def test_a_relay_evaluation_logs_its_accuracy_within_the_budget_once(
    evaluated: Path, tmp_path: Path, budget: float | None, value: float | None
) -> None:
    directory, tracker = opened(tmp_path / "first")
    for _ in range(2):
        publish_evaluation(directory, tracker, STAGE, budget)
    logged = [metrics[OBJECTIVE] for metrics in read_metrics(directory, "evaluate").values() if OBJECTIVE in metrics]
    assert logged == ([] if value is None else [pytest.approx(value)])
    assert len(directory.read_jsonl("metrics.jsonl")) == 2 + len(logged)  # a row for each kind
