"""A timeline's bars are labelled by their tasks' names, and its rows by their actors."""

from __future__ import annotations

from typing import Any

from cluster.timeline import named

Event = dict[str, Any]


def bar(cat: str, tid: int, actor: str | None) -> Event:
    return {"ph": "X", "cat": cat, "name": "grpo_step", "pid": 0, "tid": tid, "args": {"actor_id": actor}}


def row(tid: int, name: str) -> Event:
    return {"ph": "M", "name": "thread_name", "pid": 0, "tid": tid, "args": {"name": name}}


def test_bars_are_whole_tasks_with_their_names_and_rows_have_their_actors() -> None:
    events = [
        bar("task::grpo step 3: learn", 1, "aa"),
        bar("task:execute", 1, "aa"),
        bar("task::driver", 2, None),
        row(1, "worker:1f"),
        row(2, "driver:2e"),
    ]
    found = named(events, {"aa": "learner-0", "bb": "reward"})
    assert [event["name"] for event in found if event["ph"] == "X"] == ["grpo step 3: learn", "driver"]
    assert [event["args"]["name"] for event in found if event["ph"] == "M"] == ["learner-0", "driver:2e"]
    assert events[0]["name"] == "grpo_step"  # what was given is not changed
