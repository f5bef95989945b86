"""The state of runs, from their files alone: lives, progress, alarms, numbers; what is broken breaks nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from pipelines.experiment.loading import load, resolved_yaml
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import stage_keys
from pipelines.records.run_directory import RunDirectory
from pipelines.watch import claims, tail
from pipelines.watch import fleet as fleet_module
from pipelines.watch.claims import Locks
from pipelines.watch.fleet import Fleet
from pipelines.watch.state import RunDetail, RunState
from tests.pipelines.watch.conftest import (
    CHAIN,
    HOSTILE,
    add_line,
    hostile_traces,
    metric_record,
    trace_record,
    write_jsonl,
    write_run,
)

DEMO = Path(__file__).parents[3] / "experiments" / "demo.yaml"


def states(fleet: Fleet) -> dict[str, RunState]:
    return {run.label: run for run in fleet.refresh().runs}


def detail(fleet: Fleet, label: str) -> RunDetail:
    found = fleet.detail(states(fleet)[label].id)
    assert found is not None
    return found


def numbers(run: RunState) -> dict[str, float | None]:
    return {number.name: number.value for number in run.numbers}


def test_folders_beyond_the_limit_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / str(number)).mkdir()
    monkeypatch.setattr(fleet_module, "_MOST_FOLDERS", 5)
    assert Fleet([tmp_path]).refresh().remarks == ()
    (tmp_path / "4").mkdir()
    (remark,) = Fleet([tmp_path]).refresh().remarks
    assert remark.startswith(f"{tmp_path} has more than 5 folders")


def test_each_run_is_in_the_life_that_its_files_tell(runs: Path) -> None:
    found = states(Fleet([runs]))
    assert {label: run.life for label, run in found.items()} == {
        "good": "finished",
        "collapsed": "finished",
        "live": "running",
        "crashed": "stopped",
        "broken": "broken",
    }
    assert found["crashed"].resume == f"relayllm run {runs}/crashed/experiment.yaml"
    assert "metrics.jsonl: is no plain file" in found["broken"].said


def test_what_needs_a_look_comes_first_and_then_what_runs(runs: Path) -> None:
    labels = [run.label for run in Fleet([runs]).refresh().runs]
    assert set(labels[:3]) == {"collapsed", "crashed", "broken"} and labels[3:] == ["live", "good"]


def test_an_evaluations_shares_are_measured_by_the_runs_own_alarms(runs: Path) -> None:
    experiment = load(DEMO, ["alarms.cut_off=0.25", "alarms.failed_calls=null"], Experiment)
    (runs / "good" / "experiment.yaml").write_text(resolved_yaml(experiment))
    assert detail(Fleet([runs]), "good").highest == {"cut_off_share": 0.25, "failed_call_share": None}


def test_reading_a_run_imports_nothing_that_it_names(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    (runs / "good" / "evil.py").write_text("import pathlib; pathlib.Path('imported').touch()")
    settings = resolved_yaml(load(DEMO, [], Experiment)).replace("difficulty_aware", "good.evil:mine")
    (runs / "good" / "experiment.yaml").write_text(settings)
    found = Fleet([runs])
    assert detail(found, "good").run.stages  # of the settings, which were read
    assert not (runs / "imported").exists()


def test_a_number_of_kept_problems_that_is_none_leaves_the_steps_unknown(runs: Path) -> None:
    settings = load(DEMO, ["grpo.epochs=2", "grpo.steps=null"], Experiment)
    (runs / "live" / "experiment.yaml").write_text(resolved_yaml(settings))
    add_line(
        runs / "live" / "metrics.jsonl",
        {"stage": "filter", "step": 0, "time_s": 1.0, "metrics": {"filter/kept": float("inf")}},
    )
    assert states(Fleet([runs]))["live"].life == "running"


def test_a_bad_run_has_its_alarms_and_a_good_one_has_none(runs: Path) -> None:
    found = states(Fleet([runs]))
    assert not found["good"].alarms
    names = [alarm.name for alarm in found["collapsed"].alarms]
    assert "cut_off" in names and "accuracy_fall" in names
    raised = next(alarm for alarm in found["collapsed"].alarms if alarm.name == "cut_off")
    assert raised.number.endswith("answers that end at a limit") and "for 5 steps in a row" in raised.where
    assert "malformed_commands (grpo, step 5 to step 10)" in detail(Fleet([runs]), "collapsed").ended_alarms


def test_numbers_are_the_last_ones_and_bad_ones_are_marked(runs: Path) -> None:
    fleet = Fleet([runs])
    log = runs / "live" / "metrics.jsonl"
    metrics = {"rollout/cut_off_share": 0.31, "rollout/accuracy": 0.5, "rollout/failed_call_share": 0.0}
    add_line(log, {"stage": "grpo", "step": 25, "time_s": 500.0, "metrics": metrics})
    live = states(fleet)["live"]
    assert live.step == 25 and live.duration_s == 500.0
    found = numbers(live)
    assert (found["cut_off"], found["accuracy"]) == (0.31, 0.5)
    assert [number.name for number in live.numbers if number.bad] == ["cut_off"]


def test_a_finished_run_shows_what_its_report_says_and_not_its_last_rollouts(runs: Path) -> None:
    rows = [json.loads(line) for line in (runs / "good" / "evaluations.jsonl").read_text().splitlines()]
    final = next(row for row in rows if (row["name"], row["policy"], row["kind"]) == ("final", "relay", "all"))
    found = numbers(states(Fleet([runs]))["good"])
    assert (found["accuracy"], found["call_ratio"]) == (final["accuracy"], final["call_ratio"])


def test_a_refresh_reads_only_what_is_new(runs: Path) -> None:
    fleet = Fleet([runs])
    before = fleet.refresh()
    read = fleet.bytes_read
    assert read > 50_000
    assert fleet.refresh() == before and fleet.bytes_read == read
    log = runs / "live" / "metrics.jsonl"
    size = log.stat().st_size
    add_line(log, {"stage": "grpo", "step": 25, "time_s": 500.0, "metrics": {"rollout/accuracy": 0.7}})
    assert numbers(states(fleet)["live"])["accuracy"] == 0.7
    assert fleet.bytes_read - read == log.stat().st_size - size


def test_many_runs_are_read_once_and_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "MOST_LINE_BYTES", 1 << 14)
    row = json.dumps({"stage": "grpo", "step": 1, "time_s": 1.0, "metrics": {f"m/{i}": 0.5 for i in range(20)}})
    for number in range(200):
        (run := tmp_path / "runs" / f"run-{number:03d}").mkdir(parents=True)
        (run / "metrics.jsonl").write_text(f"{row}\n" * 40)
    total = sum(path.stat().st_size for path in (tmp_path / "runs").rglob("metrics.jsonl"))
    fleet, parts = Fleet([tmp_path / "runs"], bytes_per_refresh=total // 5), []
    while (state := fleet.refresh()).behind_bytes:
        parts.append(state.behind_bytes)
    assert parts == sorted(parts, reverse=True) and len(parts) >= 4
    assert fleet.bytes_read == total and [run.step for run in state.runs] == [1] * 200
    fleet.refresh()
    assert fleet.bytes_read == total


def test_a_step_that_is_logged_again_after_a_resume_counts_once(runs: Path) -> None:
    fleet = Fleet([runs])
    points = next(chart for chart in detail(fleet, "live").charts if chart.name == "accuracy").curves[0].points
    add_line(
        runs / "live" / "metrics.jsonl",
        {"stage": "grpo", "step": 20, "time_s": 600.0, "metrics": {"rollout/accuracy": 0.123}},
    )
    again = next(chart for chart in detail(fleet, "live").charts if chart.name == "accuracy").curves[0].points
    assert len(again) == len(points) and again[19].step == 20 and again[19].mean == 0.123


def test_long_curves_keep_their_extremes(tmp_path: Path) -> None:
    rows = [
        {"stage": "grpo", "step": step, "time_s": 1.0, "metrics": {"rollout/cut_off_share": float(step == 777)}}
        for step in range(1, 2001)
    ]
    (tmp_path / "long").mkdir()
    write_jsonl(tmp_path / "long" / "metrics.jsonl", rows)
    (curve,) = next(c for c in detail(Fleet([tmp_path]), "long").charts if c.name == "trouble").curves
    assert len(curve.points) <= 240 and max(point.high for point in curve.points) == 1.0
    assert curve.points[-1].step == 2000


@pytest.fixture
def real_run(tmp_path: Path) -> Path:
    """A run directory with a whole experiment, whose stages are done up to GRPO, which is at step 3."""
    directory = RunDirectory(tmp_path / "runs" / "real")
    experiment = load(DEMO, [f"run_dir={directory.path}", "grpo.steps=12", "tracking.mode=disabled"], Experiment)
    directory.path.mkdir(parents=True)
    directory.write_text("experiment.yaml", resolved_yaml(experiment))
    for stage in stage_keys(experiment):
        if stage != "grpo" and not stage.startswith(("evaluate-grpo", "evaluate-final")):
            directory.stage_dir(stage)
            directory.mark_done(stage, {})
    for step in range(1, 4):
        metrics = {"rollout/accuracy": 0.5, "time/step_s": 2.0}
        directory.append_jsonl("metrics.jsonl", {"stage": "grpo", "step": step, "time_s": 9.0, "metrics": metrics})
    return directory.path


def test_stages_progress_and_the_time_left_come_from_the_experiment(real_run: Path) -> None:
    with RunDirectory(real_run):
        run = states(Fleet([real_run.parent]))["real"]
    done = {stage.name: stage.done for stage in run.stages}
    assert done["filter"] and done["warmup"] and not done["grpo"]
    assert [stage.name for stage in run.stages if stage.present] == ["grpo"]
    assert (run.step, run.steps, run.progress, run.left_s) == (3, 12, 0.25, 18.0)
    assert run.life == "running" and run.serve is None


def test_a_finished_student_has_the_command_that_serves_it(real_run: Path) -> None:
    directory = RunDirectory(real_run)
    (directory.stage_dir("grpo") / "model").mkdir()
    assert states(Fleet([real_run]))["real"].serve is None
    directory.mark_done("grpo", {"steps": 12})
    fleet = Fleet([real_run])
    assert states(fleet)["real"].serve == f"relayllm serve {real_run}"
    assert states(fleet)["real"].life == "stopped"
    for stage in stage_keys(load(real_run / "experiment.yaml", [], Experiment)):
        directory.stage_dir(stage)
        directory.mark_done(stage, {})
    assert states(fleet)["real"].life == "finished"


def test_watching_never_keeps_a_driver_from_its_run(runs: Path) -> None:
    fleet = Fleet([runs])
    fleet.refresh()
    with RunDirectory(runs / "crashed"):
        assert states(fleet)["crashed"].life == "running"
        fleet.refresh()
    assert states(fleet)["crashed"].life == "stopped"


def test_a_lock_of_another_machine_tells_nothing_but_its_host(runs: Path) -> None:
    (runs / "crashed" / "run.lock").write_text("pid 7 on node-17\n")
    run = states(Fleet([runs]))["crashed"]
    assert run.life == "elsewhere" and "node-17" in run.said and run.written_at is not None


def test_without_a_list_of_locks_the_process_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_LOCKS", tmp_path / "nowhere")
    directory = RunDirectory(tmp_path / "run")
    with directory:
        assert Locks.now().claim(directory.lock).state == "held"
    directory.lock.write_text(f"pid 4194304 on {os.uname().nodename}\n")
    assert Locks.now().claim(directory.lock).state == "free"


def lines_that_break() -> Iterator[bytes]:
    yield b"not json"
    yield b"[" * 5000
    yield b'{"stage": "grpo"}'
    yield b'{"stage": "grpo", "step": 1e400, "time_s": 1, "metrics": {}}'
    yield b'{"stage": "grpo", "step": -4, "time_s": 1, "metrics": {}}'
    yield b'{"stage": "grpo", "step": 3, "time_s": NaN, "metrics": {"rollout/accuracy": NaN}}'
    yield b'{"stage": "grpo", "step": 3, "time_s": 1, "metrics": {"rollout/accuracy": 1e300}}'
    yield b'{"stage": "grpo", "step": 3, "time_s": 1, "metrics": {"rollout/accuracy": "<b>"}}'
    yield b"\xff\xfe\x00"
    yield b'{"stage": "grpo", "step": ' + b"9" * 6000 + b', "time_s": 1, "metrics": {}}'


@pytest.mark.parametrize("line", lines_that_break(), ids=range(10))
def test_no_line_breaks_a_run_or_its_neighbours(runs: Path, line: bytes) -> None:
    fleet = Fleet([runs])
    before = states(fleet)
    for name in ("metrics", "evaluations", "alarms", "traces"):
        with (runs / "good" / f"{name}.jsonl").open("ab") as log:
            log.write(line + b"\n")
    add_line(runs / "good" / "metrics.jsonl", {"stage": "grpo", "step": 25, "time_s": 1.0, "metrics": {}})
    shown = detail(fleet, "good")
    json.dumps(asdict(shown), allow_nan=False)
    assert shown.run.step == 25 and shown.run.life == "finished" and shown.run.faults
    assert {label: run for label, run in states(fleet).items() if label != "good"} == {
        label: run for label, run in before.items() if label != "good"
    }


@pytest.mark.parametrize("text", ["a: [", "- 1", "&a [*a]", "\x00", "name: " + "x" * 2_000_000])
def test_an_experiment_that_cannot_be_read_is_a_remark(runs: Path, text: str) -> None:
    (runs / "good" / "experiment.yaml").write_text(text)
    run = states(Fleet([runs]))["good"]
    assert run.life == "finished" and run.step == 24 and run.faults


def test_answers_are_the_newest_ones_with_their_writers(runs: Path) -> None:
    fleet = Fleet([runs])
    first = detail(fleet, "good").answers
    assert [(part.source, part.text) for part in first[-1].parts][1:3] == [
        ("command", "<call>2</call>"),
        ("teacher", " 42"),
    ]
    add_line(runs / "good" / "traces.jsonl", trace_record("known", True, "what?", [("student", "x" * 20_000)]))
    newest = detail(fleet, "good").answers[0]
    assert newest.number == len(first) + 1 and newest.shortened and len(newest.parts[0].text) == 8000


def test_hostile_answers_stay_text(runs: Path) -> None:
    hostile_traces(runs / "good")
    shown = detail(Fleet([runs]), "good").answers
    assert len(shown) == 6 and shown[-1].parts[-1].text == HOSTILE


def test_runs_are_found_below_the_folders_and_never_through_links(tmp_path: Path) -> None:
    write_run(tmp_path / "outside" / "secret", CHAIN, steps=2, every=1)
    for name in ("a", "study/one", "study/deep/two", "a/stages/no", ".hidden/no", "study/deep/er/still/more/no"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "metrics.jsonl").touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "outside" / "secret")
    assert set(states(Fleet([tmp_path / "in"]))) == {"a", "study/one", "study/deep/two"}


def test_the_runs_of_studies_and_sweeps_that_are_under_way_are_found(tmp_path: Path) -> None:
    for name in ("paper/runs/relay", "sweeps/search/trials/0"):
        write_run(tmp_path / "runs" / name, CHAIN, steps=2, every=1)
    for name in ("paper", "sweeps/search"):  # each is claimed by its own driver
        (tmp_path / "runs" / name / "run.lock").write_text("pid 7 on node-17\n")
    assert set(states(Fleet([tmp_path / "runs"]))) == {"paper/runs/relay", "sweeps/search/trials/0"}


def test_runs_of_folders_with_one_name_can_be_told_apart(tmp_path: Path) -> None:
    for place in ("x", "y"):
        write_run(tmp_path / place / "runs" / "relay", CHAIN, steps=2, every=1)
    fleet = Fleet([tmp_path / "x" / "runs", tmp_path / "y" / "runs"])
    assert len(states(fleet)) == 2 and len({run.id for run in fleet.refresh().runs}) == 2


def test_runs_come_and_go(runs: Path, tmp_path: Path) -> None:
    fleet = Fleet([runs])
    gone = states(fleet)["good"].id
    (runs / "good").rename(tmp_path / "elsewhere")
    write_run(runs / "new", CHAIN, steps=2, every=1)
    assert "new" in states(fleet) and "good" not in states(fleet)
    assert fleet.detail(gone) is None and fleet.report(gone) is None


def test_a_folder_that_is_gone_is_a_remark(tmp_path: Path) -> None:
    state = Fleet([tmp_path / "nowhere"]).refresh()
    assert state.runs == () and state.remarks == (f"{tmp_path / 'nowhere'} is no folder.",)


def test_a_metric_of_a_new_step_is_in_the_curve(runs: Path) -> None:
    import numpy as np

    fleet = Fleet([runs])
    detail(fleet, "live")
    add_line(runs / "live" / "metrics.jsonl", metric_record(25, 30, np.random.default_rng(1)))
    curve = next(chart for chart in detail(fleet, "live").charts if chart.name == "call_ratio").curves[0]
    assert curve.points[-1].step == 25
