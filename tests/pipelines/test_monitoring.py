"""A real run, as Prometheus, Ray's dashboard and Ray's timeline show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.metrics.panels import ROWS, Panel
from cluster.metrics.registry import EXPORTED
from tests.prometheus import SCRAPE_S
from tests.watched_run import Watched, watched_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PANELS = [panel for row in ROWS.values() for panel in row]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched_run(tmp_path_factory.mktemp("watched")) as run:
        yield run


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_every_query_of_a_panel_finds_data(watched: Watched, panel: Panel) -> None:
    assert [query.expression for query in panel.queries if not watched.series(query)] == []


def test_every_metric_is_exported_as_its_kind(watched: Watched) -> None:
    exported = watched.kinds
    kinds = {name: exported[f"ray_{name}"] for name in EXPORTED if f"ray_{name}" in exported}
    kinds |= {name: exported[f"ray_{name}_total"] for name in EXPORTED if f"ray_{name}_total" in exported}
    never = {"relayllm_grading_failures"}  # no comparison takes too long in this run
    assert kinds == {name: metric.kind for name, metric in EXPORTED.items() if name not in never}


def test_the_actors_were_in_the_states_that_their_work_has(watched: Watched) -> None:
    start, end = watched.start, watched.end
    series = watched.prometheus.history('ray_relayllm_state_seconds_total{run="watched"}', start, end, SCRAPE_S)
    states: dict[str, set[str]] = {}
    for one in series:
        states.setdefault(one["metric"]["actor"], set()).add(one["metric"]["state"])
    assert states["rollout-0"] >= {"starting", "idle", "writing", "syncing"}
    assert states["teacher"] >= {"starting", "idle", "writing"}
    assert states["learner-0"] >= {"starting", "idle", "learning", "syncing"}
    assert "grading" in states["reward"]


def test_what_is_counted_agrees_with_the_runs_own_metrics(watched: Watched) -> None:
    ratio = watched.values('max(ray_relayllm_last_value{run="$run", metric="rollout/call_ratio"})')
    assert 0 < ratio[-1] < 1
    steps = watched.values('max(ray_relayllm_step{run="$run", stage="grpo"})')
    assert max(steps) == 3
    versions = watched.values('max(ray_relayllm_policy_version{run="$run", actor="rollout-0"})')
    assert max(versions) >= 4  # the warm student's weights and those of three steps
    running = watched.values('max(ray_relayllm_engine_running{run="$run", actor="rollout-0"})')
    assert max(running) > 1


def test_actors_and_tasks_in_the_dashboard_tell_run_stage_and_step(watched: Watched) -> None:
    dashboard = ("--address", watched.cluster.dashboard, "--format", "json", "--detail", "--limit", "10000")
    actors = watched.cluster.run("ray", "list", "actors", *dashboard)
    assert actors.returncode == 0, actors.stderr
    shown = {actor["repr_name"] for actor in json.loads(actors.stdout)}
    assert shown >= {f"{name} of relay-watched" for name in ("teacher", "rollout-0", "reward", "learner-0")}
    tasks = watched.cluster.run("ray", "list", "tasks", *dashboard)
    assert tasks.returncode == 0, tasks.stderr
    names = {task["name"] for task in json.loads(tasks.stdout)}
    assert names >= {f"grpo step 2: {phase}" for phase in ("rollout", "grade", "learn", "sync")}
    assert "evaluate-final-relay: rollout" in names


def test_the_timeline_of_a_step_has_its_phases_on_the_rows_of_its_actors(watched: Watched, tmp_path: Path) -> None:
    file = tmp_path / "timeline.json"
    written = watched.cluster.run("python", "-m", "cluster.timeline", str(file), "--address", watched.cluster.address)
    assert written.returncode == 0, written.stderr
    events = json.loads(file.read_text())
    rows = {(event["pid"], event.get("tid")): event["args"]["name"] for event in events if event["ph"] == "M"}
    where: dict[str, set[str]] = {}
    for event in events:
        if event["ph"] == "X" and event["name"].startswith("grpo step 2: "):
            assert event["dur"] > 0
            where.setdefault(event["name"].removeprefix("grpo step 2: "), set()).add(rows[event["pid"], event["tid"]])
    assert where["rollout"] == {"rollout-0"} and where["grade"] == {"reward"} and where["learn"] == {"learner-0"}
    assert where["sync"] == {"learner-0", "rollout-0"}
