"""Reservation: where the actors of runs land on a simulated cluster of unequal nodes, and what is said if they find no room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from pipelines.study.plan import load_study

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
TWO_GPUS = REPOSITORY / "experiments" / "paper" / "study-1.7b-2gpus.yaml"


@pytest.fixture(scope="module")
def landed() -> dict[str, Any]:
    """Return what happened on one simulated cluster: nodes with 4, 4 and 2 GPUs, and later one with 8."""
    script = Path(__file__).with_name("reservations_on_nodes.py")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    # Few actors start, so no worker has to be started before.
    environment |= dict(PYTHONPATH=str(REPOSITORY), RAY_USAGE_STATS_ENABLED="0", RAY_prestart_worker_first_driver="0")
    # All actors of these runs at once. No run has all of them.
    runs = [run.experiment for run in load_study(TWO_GPUS).runs.values()]
    bundles = {bundle.actor: astuple(bundle) for run in runs for bundle in run.bundles()}
    command = [sys.executable, str(script), json.dumps(list(bundles.values()))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def on(landed: dict[str, Any], run: str, kind: str) -> list[str]:
    """Return the nodes of the actors whose names begin with `kind`, in the order of the names."""
    return [node for actor, node in sorted(landed[run].items()) if actor.startswith(kind)]


def test_learner_ranks_share_a_node_and_rollout_workers_do_not(landed: dict[str, Any]) -> None:
    assert len(set(on(landed, "a common run", "learner"))) == 1
    assert len(set(on(landed, "a common run", "rollout"))) > 1


def test_a_teacher_over_four_gpus_is_whole_on_a_node_that_has_them(landed: dict[str, Any]) -> None:
    assert on(landed, "a large learner", "teacher")[0] in ("four", "four too")


def test_ranks_that_no_node_holds_fill_few_nodes_in_order(landed: dict[str, Any]) -> None:
    ranks = on(landed, "a large learner", "learner")
    teacher = on(landed, "a large learner", "teacher")[0]
    other = {"four": "four too", "four too": "four"}[teacher]
    assert ranks == [other] * 4 + ["two"] * 2


def test_parts_of_gpus_are_shared_as_the_experiment_for_two_gpus_says(landed: dict[str, Any]) -> None:
    gpus = landed["two GPUs"]
    assert {node for actor, node in landed["two GPUs: nodes"].items() if gpus[actor]} == {"two"}
    assert gpus["teacher"] == gpus["rollout-0"] != gpus["learner-0"] == gpus["citer"]


def test_a_node_that_joins_in_time_is_used(landed: dict[str, Any]) -> None:
    assert on(landed, "a node that joins", "teacher") == ["eight"]


def test_a_refusal_shows_each_node_and_who_holds_what_is_missing(landed: dict[str, Any]) -> None:
    refusal = landed["refused"]
    assert "within 1 s: the run needs 3 GPUs, and of 10 2 are free.\n" in refusal
    assert sorted(line.split()[-3:] for line in refusal.splitlines() if line.endswith(("of 4", "of 2"))) == [
        ["0", "of", "4"],
        ["0", "of", "4"],
        ["2", "of", "2"],
    ]
    assert refusal.endswith("in use by: another run")


def test_a_refusal_leaves_nothing_reserved(landed: dict[str, Any]) -> None:
    assert landed["groups at the end"] == []
