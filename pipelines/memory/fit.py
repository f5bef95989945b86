"""Checks whether a run fits into the machines' memory: a table, warnings, and a refusal if it surely does not fit."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from cluster.devices import Device
from cluster.machine import Machines, this_machine
from cluster.session import address_of
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.schema import Experiment
from pipelines.memory.roles import GB, RoleMemory, memory_of

logger = logging.getLogger(__name__)

_ERROR = 0.25
"""share by which an estimate may be wrong; a run that is too large by more surely does not fit"""
_NEAR = 0.9
"""share of the memory from which on a run is near its limit: Ray kills actors at 0.95"""
_PARTS = ("weights", "optimizer", "gradients", "reference", "KV cache", "activations", "weight transfer")


class MemoryShortError(ConfigError):
    """The machines surely cannot hold the run; the message says what is too large and which keys to change."""


def check_memory(experiment: Experiment, machines: Machines, parts: Collection[str] = ("learner", "citer")) -> None:
    """Log a warning if the run needs nearly all memory of the machines. Raises `MemoryShortError` if it surely needs more."""
    roles = memory_of(experiment, parts)
    refused, near = judged(experiment, roles, machines)
    if refused:
        raise MemoryShortError([*refused, memory_table(experiment, roles, machines)])
    for line in near:
        logger.warning("%s", line)


def memory_here(experiment: Experiment) -> str:
    """Return the memory table, and what does not fit if the run starts its own Ray on this machine."""
    roles = memory_of(experiment)
    if address_of(experiment.cluster.address):
        return f"{memory_table(experiment, roles, None)}\nthe cluster's memory is checked when the run has joined it"
    machines = this_machine()
    if experiment.cluster.device is Device.GPU and machines.gpu is None:
        return f"{memory_table(experiment, roles, None)}\nthis machine has no GPU, so its memory is not compared"
    refused, near = judged(experiment, roles, machines)
    return "\n".join([memory_table(experiment, roles, machines), *refused, *near])


def judged(experiment: Experiment, roles: Sequence[RoleMemory], machines: Machines) -> tuple[list[str], list[str]]:
    """Return what surely does not fit, and what is near the limit, as sentences."""
    refused, near = [], []
    needed = sum(role.host_all for role in roles)
    largest = max(roles, key=lambda role: role.host_each)
    roomy = min(machines.total, machines.available)
    short = f"host memory: the run needs about {_gb(needed)}, and {machines.where} has {_gb(machines.total)}"
    if sum(role.count * _certain(role) for role in roles) > machines.total:
        refused.append(f"{short}. {_advice(experiment, roles)}")
    elif _certain(largest) > machines.largest:
        refused.append(
            f"host memory: {largest.role} needs about {_gb(largest.host_each)}, and the largest node has "
            f"{_gb(machines.largest)}. {_advice(experiment, [largest])}"
        )
    elif needed > _NEAR * roomy:
        near.append(f"{short}, {_gb(roomy)} of it free: actors may be killed. {_advice(experiment, roles)}")
    for role in roles if machines.gpu else ():
        over = _on_gpu(experiment, role, machines.gpu or 0.0)
        if over is not None:
            sure, line = over
            (refused if sure else near).append(line)
    return refused, near


def memory_table(experiment: Experiment, roles: Sequence[RoleMemory], machines: Machines | None) -> str:
    """Return the estimate as text: a line for each role with its parts, the sum, and what the machines have."""
    lines = [f"{'memory in GB, about':<24}{'each':>7}{'all':>8}   parts of one"]
    for role in roles:
        name = role.role if role.count == 1 else f"{role.role} x {role.count}"
        lines.append(
            f"{name:<24}{role.host_each / GB:>7.1f}{role.host_all / GB:>8.1f}   {_parts(role.host, role.known)}"
        )
    lines.append(f"{'total':<24}{'':>7}{sum(role.host_all for role in roles) / GB:>8.1f}")
    if machines is not None:
        lines.append(f"{machines.where:<24}{'':>7}{machines.total / GB:>8.1f}   {_gb(machines.available)} free now")
    on_gpu = [role for role in roles if role.gpu]
    if on_gpu:
        size = "" if machines is None or machines.gpu is None else f", which has {_gb(machines.gpu)}"
        lines.append(f"on each of its GPUs{size}")
    for role in on_gpu:
        reserve = _reserved(experiment, role)
        share = f"; the engine reserves {reserve:.0%} of the GPU" if reserve else ""
        lines.append(f"{role.role:<24}{role.gpu_each / GB:>7.1f}{'':>8}   {_parts(role.gpu, role.known)}{share}")
    return "\n".join(lines)


def _on_gpu(experiment: Experiment, role: RoleMemory, size: float) -> tuple[bool, str] | None:
    """Return whether a role surely needs more than a GPU's memory, and a sentence; None if there is nothing to say."""
    reserve = _reserved(experiment, role)
    outside = sum(role.gpu.get(part, 0.0) for part in ("weight transfer", "context"))
    if reserve:
        inside = role.gpu_each - outside
        if inside > reserve * size:
            sure = role.gpu.get("weights", 0.0) > reserve * size
            line = f"its engine needs about {_gb(inside)} at least, and may have {reserve:.2f} of the GPU's {_gb(size)}"
        elif reserve * size + outside > size:
            sure = False
            line = f"its engine takes {reserve:.2f} of the GPU's {_gb(size)}, and {_gb(outside)} are needed besides"
        else:
            return None
    elif role.gpu_each > _NEAR * size:
        sure = role.gpu_each * (1 - _ERROR) > size
        line = f"it needs about {_gb(role.gpu_each)} of a GPU that has {_gb(size)}"
    else:
        return None
    return sure, f"GPU memory of {role.role}: {line}. {_advice(experiment, [role], on_gpu=True)}"


def _reserved(experiment: Experiment, role: RoleMemory) -> float:
    """Return the share of a GPU that the role's engine reserves; 0 if it has none there."""
    engines = {"teacher": experiment.teacher.engine, "rollout": experiment.rollout.engine}
    return engines[role.role].gpu_memory_utilization if role.gpu and role.role in engines else 0.0


def _certain(role: RoleMemory) -> float:
    """Return the host memory that one process of a role surely needs, without activations and assumed sizes."""
    unsure = role.host.get("activations", 0.0) + (role.host.get("libraries", 0.0) if role.gpu else 0.0)
    return (role.host_each - unsure) * (1 - _ERROR)


def _advice(experiment: Experiment, roles: Sequence[RoleMemory], on_gpu: bool = False) -> str:
    """Return as text which keys to change, the largest role's first, without keys that are changed already."""
    turned = {
        "dtype=bfloat16": lambda block: block.dtype == "bfloat16",
        "gradient_checkpointing=true": lambda block: block.gradient_checkpointing,
        "offload_optimizer=true": lambda block: block.offload_optimizer,
        "offload_optimizer=false": lambda block: not block.offload_optimizer,
        "colocate=false": lambda block: not block.colocate,
    }
    blocks = {
        "learner": experiment.learner,
        "teacher.engine": experiment.teacher.engine,
        "rollout.engine": experiment.rollout.engine,
        "cluster": experiment.cluster,
    }

    def left(key: str) -> bool:
        block, _, change = key.rpartition(".")
        return change not in turned or not turned[change](blocks[block])

    largest = sorted(roles, key=lambda role: -(role.gpu_each if on_gpu else role.host_all))
    keys = [[key for key in (role.gpu_keys if on_gpu else role.host_keys) if left(key)] for role in largest]
    most = 5 if len(roles) == 1 else 3
    chosen = [key for group in keys for key in group[:most]][:9]
    return f"To need less: {', '.join(chosen)}" if chosen else "Take a machine with more memory"


def memory_advice(experiment: Experiment, role: str) -> str:
    """Return as text which keys to change so that a role's processes need less memory."""
    roles = [found for found in memory_of(experiment) if found.role == role]
    return _advice(experiment, roles)


def _parts(parts: dict[str, float], known: bool) -> str:
    ordered = sorted(parts, key=lambda name: _PARTS.index(name) if name in _PARTS else len(_PARTS))
    shown = ", ".join(f"{name} {parts[name] / GB:.1f}" for name in ordered if parts[name] >= 0.05 * GB)
    return shown if known else f"{shown}; and a model whose size is not known here"


def _gb(size: float) -> str:
    return f"{size / GB:.1f} GB"
