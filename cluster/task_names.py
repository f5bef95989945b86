"""Names of the tasks that a driver starts. They tell stage and step in Ray's dashboard and timeline: `grpo step 3: learn`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cluster.metrics.publisher import Reading


@dataclass(slots=True)
class _Now:
    """Where the driver of this process is in its run."""

    stages: list[str] = field(default_factory=list)
    """the innermost is the last"""
    step: int | None = None
    begun: dict[str, None] = field(default_factory=dict)
    """all stages so far"""


_now = _Now()


@contextmanager
def at_stage(stage: str) -> Iterator[None]:
    """Tasks that start during the block belong to `stage`."""
    before = _now.step
    _now.stages.append(stage)
    _now.begun[stage] = _now.step = None
    try:
        yield
    finally:
        _now.stages.pop()
        _now.step = before


@contextmanager
def at_step(step: int) -> Iterator[None]:
    """Tasks that start during the block belong to this step of the stage. Steps count from 1."""
    before, _now.step = _now.step, step
    try:
        yield
    finally:
        _now.step = before


def task_name(what: str) -> str:
    """Return the name of a task that does `what`, with the stage and the step that it belongs to."""
    if not _now.stages:
        return what
    where = _now.stages[-1] if _now.step is None else f"{_now.stages[-1]} step {_now.step}"
    return f"{where}: {what}"


def stage_readings() -> Iterator[Reading]:
    """Yield which stage the driver is in."""
    present = _now.stages[-1:]
    for stage in list(_now.begun):
        yield Reading("relayllm_stage", float([stage] == present), {"stage": stage})
