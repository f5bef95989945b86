"""Measures how much host memory an actor uses, and how full its node is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", ("inactive_file", "active_file")),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_cache",)),
)
"""for control groups of version 2 and 1: folder, file of the limit, file of the use, and the rows of memory.stat with caches"""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory use as one process measured it."""

    own_bytes: int
    """memory of the process, and of its children if it is an actor, without files and shared memory"""
    node_used_share: float
    """share of the memory of the node, or of its container, that is in use"""


def memory_use(actor: object = None) -> MemoryUse:
    """Return the memory use of this process. For an actor, call `actor.__ray_call__.remote(memory_use)`.

    An actor's child processes are included, because an engine's core may be one. A driver's are not: they are Ray's processes
    and all actors.
    """
    process, own = psutil.Process(), 0
    children = [] if actor is None else process.children(recursive=True)
    for one in (process, *children):
        try:
            found = one.memory_info()
        except psutil.NoSuchProcess:
            continue
        own += max(found.rss - found.shared, 0)
    return MemoryUse(own, node_used_share())


def node_used_share() -> float:
    """Return the share, in [0, 1], of this machine's memory that is in use, or of its container's if that is fuller."""
    memory = psutil.virtual_memory()
    found = (memory.total - memory.available) / memory.total
    for folder, limit_file, used_file, caches in _CGROUPS:
        try:
            limit = int((folder / limit_file).read_text())
            if limit < memory.total:
                rows = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                used = int((folder / used_file).read_text()) - sum(int(rows.get(name, 0)) for name in caches)
                found = max(found, used / limit)
        except (OSError, ValueError):
            continue  # no such control group, or one without a limit
    return found
