"""A timeline's bars are labelled by their tasks' names, and its rows by their actors."""

from __future__ import annotations

from typing import Any

from cluster.timeline import named

Event = dict[str, Any]


def bar(cat: str, tid: str, actor: str | None) -> Event:
    return {"ph": "X", "cat": cat, "name": "grpo_step", "pid": "10.0.0.1", "tid": tid, "args": {"actor_id": actor}}


def test_bars_are_whole_tasks_with_their_names_and_rows_have_their_actors() -> None:
    events = [
        bar("task::LearnerRank.__init__", "worker:1f", None),
        bar("task::grpo step 3: learn", "worker:1f", "aa"),
        bar("task:execute", "worker:1f", "aa"),
        bar("task::driver", "driver:2e", None),
    ]
    found = named(events, {"aa": "learner-0", "bb": "reward"})
    assert [event["name"] for event in found if event["ph"] == "X"] == [
        "LearnerRank.__init__",
        "grpo step 3: learn",
        "driver",
    ]
    rows = {(event["pid"], event["tid"]): event["args"]["name"] for event in found if event["ph"] == "M"}
    assert rows == {("10.0.0.1", "worker:1f"): "learner-0", ("10.0.0.1", "driver:2e"): "driver:2e"}
    assert events[1]["name"] == "grpo_step"  # what was given is not changed


def test_a_timeline_that_names_its_rows_itself_gets_no_second_name() -> None:
    itself = {"ph": "M", "name": "thread_name", "pid": "10.0.0.1", "tid": "worker:1f", "args": {"name": "worker:1f"}}
    found = named([bar("task::grade", "worker:1f", "bb"), itself], {"bb": "reward"})
    assert [event["args"]["name"] for event in found if event["ph"] == "M"] == ["reward"]
