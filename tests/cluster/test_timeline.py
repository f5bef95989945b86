"""A timeline's bars are labelled by their tasks' names, and its rows by their actors."""

from __future__ import annotations

from typing import Any

from cluster.timeline import named

Event = dict[str, Any]


# As Ray makes them: the id of a task ends with its actor's, and that of a task of no actor with this one.
TASK = "16310a0f0a45af5c"
LEARNER, REWARD = "1945ea851c94df2e5098214e01000000", "2945ea851c94df2e5098214e01000000"
NO_ACTOR = "f" * 24 + "01000000"


def bar(cat: str, tid: str, actor: str) -> Event:
    return {
        "ph": "X",
        "cat": cat,
        "name": "grpo_step",
        "pid": "10.0.0.1",
        "tid": tid,
        "args": {"name": "x", "task_id": TASK + actor},
    }


def test_bars_are_whole_tasks_with_their_names_and_rows_have_their_actors() -> None:
    events = [
        bar("task::LearnerRank.__init__", "worker:1f", NO_ACTOR),
        bar("task::grpo step 3: learn", "worker:1f", LEARNER),
        bar("task:execute", "worker:1f", LEARNER),
        bar("task::driver", "driver:2e", NO_ACTOR),
    ]
    found = named(events, {LEARNER: "learner-0", REWARD: "reward"})
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
    found = named([bar("task::grade", "worker:1f", REWARD), itself], {REWARD: "reward"})
    assert [event["args"]["name"] for event in found if event["ph"] == "M"] == ["reward"]
