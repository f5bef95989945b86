"""Finds how much memory this machine has, or the nodes of the Ray cluster that this process has joined."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_GIB = 2**30
_SHARE_OF_WORKERS = 0.7
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_GPUS_GIB = {
    "T4": 16, "V100": 32, "A10G": 24, "A10": 24, "L4": 24, "L40S": 48, "A100": 80, "A100-40G": 40, "A100-80G": 80,
    "H100": 80, "H200": 141, "B200": 180,
}  # fmt: skip
"""GPU memory by Ray's names of accelerator types; of several models with one name, the largest"""


@dataclass(frozen=True, slots=True)
class Machines:
    """Memory of one or more machines, in bytes."""

    where: str
    """the machines in words, for messages"""
    total: float
    """host memory of all nodes"""
    largest: float
    """host memory of the node that has the most"""
    available: float
    """unused part of `total`"""
    gpu: float | None = None
    """memory of the smallest GPU; None if there is no GPU or its size is not known"""


def this_machine() -> Machines:
    """Return the memory of this machine, or of its container if that has a lower limit."""
    rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(rows[name].split()[0]) * 1024.0 for name in ("MemTotal", "MemAvailable"))
    limits = [int(text) for file in _CGROUP_LIMITS if (text := _read(file)).isdigit()]
    limit = min([total, *map(float, limits)])
    return Machines("this machine", limit, limit, min(free, limit), _own_gpu())


def nodes_of_cluster() -> Machines:
    """Return the memory of all live nodes of the cluster.

    If this machine is the only node, its memory is read now. Otherwise it is what Ray counted as free when each node started.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) == 1 and nodes[0]["NodeManagerAddress"] == ray.util.get_node_ip_address():
        return this_machine()
    offers = [node["Resources"] for node in nodes]
    sizes = [_offered(offer) for offer in offers] or [0.0]
    types = {name.split(":", 1)[1] for offer in offers for name in offer if name.startswith("accelerator_type:")}
    gpus = [_GPUS_GIB[name] * float(_GIB) for name in types if name in _GPUS_GIB]
    where = f"the cluster's {len(nodes)} nodes" if len(nodes) > 1 else "the cluster's node"
    return Machines(where, sum(sizes), max(sizes), sum(sizes), min(gpus) if gpus else None)


def _offered(resources: Mapping[str, float]) -> float:
    """Return a node's free memory at its start, in bytes. Ray gives 70 % of it to workers, and at most the rest to objects."""
    memory = float(resources.get("memory", 0))
    return max(memory / _SHARE_OF_WORKERS, memory + float(resources.get("object_store_memory", 0)))


def _own_gpu() -> float | None:
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.split()
        return min(map(float, listed), default=0.0) * 2**20 or None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""
