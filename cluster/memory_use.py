"""How much host memory an actor has, and how full its node is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", ("inactive_file", "active_file")),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_cache",)),
)
"""folder, file of the limit, file of what is used, and rows of memory.stat that are caches; versions 2 and 1"""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What one process found."""

    own_bytes: int
    """of the process, and of an actor's children: without files and without what is shared"""
    node_used_share: float
    """of the node's memory, or its container's, what is in use"""


def memory_use(actor: object = None) -> MemoryUse:
    """Return the memory of this process; `actor.__ray_call__.remote(memory_use)` has it of an actor.

    An actor's children count with it: an engine's core is one. Those of a driver are Ray's processes and all actors, and do not.
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
    """Return the share of this machine's memory that is in use, or of what its container may have."""
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
