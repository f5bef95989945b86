"""Writes Ray's timeline with bars and rows that tell what ran where: `python -m cluster.timeline out.json --address …`.

`ray timeline` labels each bar by the method alone, and each row by a worker's id. Here a bar is labelled by the name of its task, as
`grpo step 3: learn`, and a row by the name of its actor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

_TASK = "task::"
"""begins the category of a bar that is a whole task; other bars are parts of one"""
_ACTOR_ID = 32
"""hexadecimal digits of an actor's id, with which the id of each of its tasks ends"""

Event = dict[str, Any]


def named(events: Sequence[Event], names: Mapping[str, str]) -> list[Event]:
    """Return a timeline's tasks with their names, and an event that names each row. `names` are the actors' names by their ids.

    A row that belongs to no named actor is called what Ray calls it: "driver:" or "worker:" and an id.
    """
    bars: list[Event] = []
    row_names: dict[tuple[Any, Any], str] = {}
    for event in events:
        if not event.get("cat", "").startswith(_TASK):
            continue
        bars.append({**event, "name": event["cat"].removeprefix(_TASK)})
        row = event["pid"], event["tid"]
        row_names[row] = names.get(event["args"].get("task_id", "")[-_ACTOR_ID:]) or row_names.get(
            row, str(event["tid"])
        )
    rows = [
        {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}
        for (pid, tid), name in row_names.items()
    ]
    return bars + rows


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--address", default="auto", show_default=True, help="the cluster; `auto` is the one of this machine")
def main(file: Path, address: str) -> None:
    """Write the timeline of a Ray cluster to FILE, for https://ui.perfetto.dev or chrome://tracing."""
    import ray
    import ray._private.state

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    names = {actor: state["Name"] for actor, state in ray._private.state.actors().items() if state["Name"]}
    events: list[Event] = ray.timeline()
    file.write_text(json.dumps(named(events, names)), encoding="utf-8")
    click.echo(f"{file}: {len(events)} events")


if __name__ == "__main__":
    main()
