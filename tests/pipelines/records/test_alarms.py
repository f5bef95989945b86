"""Every alarm: a series that raises it, and a healthy run that raises none."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.experiment.alarms import ALARMS, AlarmEvent, AlarmSettings, event_text, open_alarms
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.experiment.tracking import TrackingSettings
from pipelines.records.alarm_watch import AlarmWatch
from pipelines.records.evaluations import Evaluation
from pipelines.records.metrics import METRICS
from pipelines.records.run_directory import RunDirectory
from pipelines.records.tracking import Tracker
from tests.pipelines.evaluation_rows import row, run
from tests.pipelines.small import SMALL

TRACKING = TrackingSettings(mode="disabled")
HEALTHY = {
    "rollout/cut_off_share": 0.02,
    "rollout/with_call_share": 0.6,
    "rollout/requested_mean": 2.0,
    "rollout/failed_call_share": 0.0,
    "rollout/malformed_per_sample": 0.01,
    "reward/zero_advantage_group_share": 0.6,
    "learner/entropy": 0.2,
    "learner/logprob_gap": 0.001,
    "learner/non_finite_steps": 0.0,
    "memory/node_used_share": 0.5,
    "filter/kept_pass_rate": 0.9,
}
BAD = {
    "cut_off": ("rollout/cut_off_share", 0.3),
    "calls_vanish": ("rollout/with_call_share", 0.0),
    "calls_everywhere": ("rollout/with_call_share", 1.0),
    "call_length": ("rollout/requested_mean", 40.0),
    "entropy_collapse": ("learner/entropy", 0.0001),
    "logprob_gap": ("learner/logprob_gap", 0.5),
    "no_advantage": ("reward/zero_advantage_group_share", 1.0),
    "failed_calls": ("rollout/failed_call_share", 0.2),
    "malformed_commands": ("rollout/malformed_per_sample", 0.8),
    "non_finite_steps": ("learner/non_finite_steps", 1.0),
    "teacher_seldom_right": ("filter/kept_pass_rate", 0.52),
    "actor_memory": ("memory/node_used_share", 0.94),
}


def watch(**thresholds: float | None) -> AlarmWatch:
    return AlarmWatch(AlarmSettings(**thresholds))  # type: ignore[arg-type]


def steps(watched: AlarmWatch, metric: str, values: Sequence[float], first: int = 1) -> list[AlarmEvent]:
    """Log the values one step after another, on top of a healthy run."""
    events = []
    for step, value in enumerate(values, start=first):
        events += watched.step("grpo", step, {**HEALTHY, metric: value})
    return events


def told(events: Sequence[AlarmEvent]) -> list[tuple[str, str, int]]:
    return [(event.event, event.alarm, event.step) for event in events]


def test_each_alarm_has_a_threshold_of_its_name_and_a_documented_metric() -> None:
    assert list(AlarmSettings.model_fields) == list(ALARMS)
    assert {alarm.metric for alarm in ALARMS.values() if alarm.metric} <= set(METRICS)
    assert set(BAD) | {"accuracy_fall"} == set(ALARMS)


def test_no_alarm_is_raised_by_a_healthy_run() -> None:
    watched = watch()
    assert steps(watched, "rollout/cut_off_share", [0.0] * 40) == []
    rows = run(199, 196)
    for name in ("base", "warmup", "final"):
        for policy in ("student", "teacher", "relay"):
            assert watched.evaluated([one for one in rows if one.name == name and one.policy == policy]) == []


@pytest.mark.parametrize("name", BAD)
def test_an_alarm_is_raised_once_after_its_steps_and_ends_once(name: str) -> None:
    alarm, (metric, bad) = ALARMS[name], BAD[name]
    watched = watch()
    assert steps(watched, metric, [HEALTHY[metric]] * 10) == []
    assert steps(watched, metric, [bad] * (alarm.steps - 1), 11) == []
    raised = 10 + alarm.steps
    assert told(steps(watched, metric, [bad] * 20, raised)) == [("began", name, raised)]
    assert [event.alarm for event in watched.open] == [name]
    assert told(steps(watched, metric, [HEALTHY[metric]] * 10, raised + 20)) == [("ended", name, raised + 22)]
    assert watched.open == []


@pytest.mark.parametrize("name", BAD)
def test_an_alarm_without_a_threshold_is_off(name: str) -> None:
    metric, bad = BAD[name]
    assert steps(watch(**{name: None}), metric, [HEALTHY[metric]] * 10 + [bad] * 30) == []


def test_bad_steps_that_are_not_in_a_row_raise_nothing() -> None:
    assert steps(watch(), "rollout/cut_off_share", [0.3, 0.3, 0.3, 0.3, 0.0] * 4) == []


def test_an_alarm_does_not_flap_while_the_number_swings_about_the_threshold() -> None:
    events = steps(watch(), "memory/node_used_share", [0.91, 0.89] * 10)
    assert told(events) == [("began", "actor_memory", 1)]


def test_steps_that_are_logged_again_after_a_resume_take_the_place_of_the_earlier_ones() -> None:
    watched = watch()
    steps(watched, "rollout/cut_off_share", [0.3] * 4)
    assert steps(watched, "rollout/cut_off_share", [0.0] * 3 + [0.3] * 4, first=2) == []
    assert told(steps(watched, "rollout/cut_off_share", [0.3], first=9)) == [("began", "cut_off", 9)]


def test_null_and_missing_numbers_raise_nothing() -> None:
    watched = watch()
    for step in range(10):
        assert watched.step("grpo", step, {"learner/entropy": None, "rollout/with_call_share": float("nan")}) == []


def test_the_length_of_calls_is_measured_against_the_shortest_so_far() -> None:
    falls, grows = [1388.0, 900.0, 300.0, 100.0, *[50.0] * 6], [150.0] * 20
    assert steps(watch(), "rollout/requested_mean", falls + grows) == []
    grows = [250.0] * 5
    (event,) = steps(watch(), "rollout/requested_mean", falls + grows)
    assert (event.alarm, event.step, event.value) == ("call_length", 15, 5.0)


def test_a_step_without_calls_begins_no_alarm_about_their_length() -> None:
    watched = watch()
    steps(watched, "rollout/requested_mean", [50.0] * 6 + [250.0] * 4)
    assert steps(watched, "rollout/requested_mean", [0.0] * 3, first=11) == []
    assert told(steps(watched, "rollout/requested_mean", [250.0], first=14)) == [("began", "call_length", 14)]


def test_steps_without_calls_neither_go_on_with_nor_end_an_alarm_about_their_length() -> None:
    watched = watch()
    metric = "rollout/requested_mean"
    (event,) = steps(watched, metric, [50.0] * 6 + [250.0] * 5)
    assert event_text(event).endswith("the alarm is above 4 for 5 steps in a row, those at 0 left out")
    assert steps(watched, metric, [50.0] * 2 + [0.0] * 10, first=12) == []
    assert told(steps(watched, metric, [50.0], first=24)) == [("ended", "call_length", 24)]


def test_a_number_that_is_null_after_a_resume_no_longer_counts() -> None:
    watched = watch()
    steps(watched, "rollout/cut_off_share", [0.3] * 4)
    watched.step("grpo", 4, {"rollout/cut_off_share": None})
    assert steps(watched, "rollout/cut_off_share", [0.3], first=5) == []
    assert told(steps(watched, "rollout/cut_off_share", [0.3], first=6)) == [("began", "cut_off", 6)]


@pytest.mark.parametrize(
    ("alarm", "changes"),
    [
        ("cut_off", {"cut_off_share": 0.4}),
        ("failed_calls", {"failed_call_share": 0.03}),
        ("calls_vanish", {"with_call_share": 0.0}),
        ("calls_everywhere", {"with_call_share": 1.0}),
    ],
)
def test_an_evaluation_raises_alarms_at_once(alarm: str, changes: dict[str, float]) -> None:
    good = {"cut_off_share": 0.01, "failed_call_share": 0.0, "with_call_share": 0.5}
    rows = [row("grpo-0050", 50, "relay", kind, 190, **(good | changes)) for kind in ("known", "all")]
    watched = watch()
    (event,) = watched.evaluated(rows)
    assert (event.event, event.alarm, event.where, event.name) == ("began", alarm, "evaluation of relay", "grpo-0050")
    (ended,) = watched.evaluated([row("final", 90, "relay", kind, 190, **good) for kind in ("known", "all")])
    assert (ended.event, ended.alarm, ended.name) == ("ended", alarm, "final")


def test_the_worst_kind_is_named_of_answers_that_are_cut_off() -> None:
    shares = {"known": 0.95, "teacher_known": 0.0, "all": 0.4}
    (event,) = watch().evaluated(
        [row("base", 0, "student", kind, 190, cut_off_share=share) for kind, share in shares.items()]
    )
    assert (event.value, event.detail) == (0.95, "known")


def test_before_grpo_it_raises_nothing_that_every_answer_has_a_call() -> None:
    assert watch().evaluated([row("warmup", 0, "relay", "all", 190, with_call_share=1.0)]) == []


def evaluated(watched: AlarmWatch, rows: Sequence[Evaluation]) -> list[AlarmEvent]:
    events = []
    for key in dict.fromkeys((one.name, one.policy) for one in rows):
        events += watched.evaluated([one for one in rows if (one.name, one.policy) == key])
    return events


def test_accuracy_that_falls_on_some_kind_is_an_alarm_though_others_rise() -> None:
    (event,) = evaluated(watch(), [one for one in run(128, 198) if one.name != "warmup"])
    assert (event.alarm, event.where, event.name) == ("accuracy_fall", "evaluation of relay", "final")
    assert event.value == pytest.approx(0.36)
    assert event.detail.replace("\u00a0", " ") == "known: 64.0 % after 100 % in base"


def test_a_fall_against_an_earlier_evaluation_of_the_policy_counts_without_a_base() -> None:
    watched = watch()
    found = [
        [(event.event, event.since) for event in watched.evaluated([row(name, step, "relay", "easy", right)])]
        for name, step, right in (("grpo-0025", 25, 180), ("grpo-0050", 50, 120), ("grpo-0075", 75, 100))
    ]
    assert found == [[], [("began", None)], [("continued", "grpo-0050")]]
    (still,) = watched.open
    assert (still.alarm, still.value) == ("accuracy_fall", pytest.approx(0.4))
    assert told(watched.evaluated([row("final", 90, "relay", "easy", 178)])) == [("ended", "accuracy_fall", 90)]


def test_a_fall_that_chance_explains_is_no_alarm() -> None:
    watched = watch()
    watched.evaluated([row("base", 0, "student", "easy", 18, 20)])
    assert watched.evaluated([row("final", 9, "relay", "easy", 15, 20)]) == []


def test_the_text_names_alarm_place_number_and_condition() -> None:
    event = AlarmEvent("began", "cut_off", "grpo", 35, 0.31, 0.1)
    assert event_text(event).replace("\u00a0", " ") == (
        "alarm cut_off (grpo, step 35): 31.0 % answers that end at a limit; the alarm is above 10.0 % for 5 steps in a row"
    )
    assert open_alarms([event]) == [event]


def opened(path: Path, **thresholds: float) -> Tracker:
    return Tracker(RunDirectory(path), TRACKING, {}, alarms=AlarmSettings(**thresholds))  # type: ignore[arg-type]


def test_an_alarm_is_one_warning_and_one_line_on_disk_also_over_a_resume(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for start in (0, 4, 8):
        tracker = opened(tmp_path)
        for step in range(start + 1, start + 5):
            tracker.log("grpo", step, {"rollout/cut_off_share": 0.3})
    assert [event.alarm for event in tracker.open_alarms] == ["cut_off"]
    for step in range(13, 20):
        tracker.log("grpo", step, {"rollout/cut_off_share": 0.0})
    lines = [json.loads(line) for line in (tmp_path / "alarms.jsonl").read_text().splitlines()]
    assert [(line["event"], line["step"]) for line in lines] == [("began", 5), ("ended", 15)]
    logged = [record for record in caplog.records if "alarm cut_off" in record.message]
    assert [record.levelname for record in logged] == ["WARNING", "INFO"]


def test_runs_that_train_without_calls_have_no_alarms_on_calls(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    without = load(tmp_path / "small.yaml", ["grpo.limits.max_calls=0"], Experiment)
    assert steps(AlarmWatch(without.alarms_in_force), "rollout/with_call_share", [0.0] * 30) == []
    with_calls = load(tmp_path / "small.yaml", [], Experiment)
    assert told(steps(AlarmWatch(with_calls.alarms_in_force), "rollout/with_call_share", [0.0] * 30)) == [
        ("began", "calls_vanish", 5)
    ]
