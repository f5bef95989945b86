"""Checks what only loading the libraries shows: that they load at all, the GPUs, and DeepSpeed's compiled operator.

A process of its own loads them, because a broken library can end the process that loads it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.learner.operator import NAME as OPERATOR
from actors.learner.operator import programs
from cluster.devices import Device
from pipelines.doctor.children import Told, told_by
from pipelines.doctor.findings import Finding, Group, broken, fine, warning
from pipelines.doctor.libraries_probe import LIBRARIES

LIMIT_S = 300.0
_GIB = 2**30
_COMPILE = "python -m actors.learner.distributed"
_COMPILER = "install a C++ compiler: apt-get install g++"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run needs of the libraries on one machine."""

    device: Device
    gpus: float | None = None
    """GPUs that this machine should have; None if it need not have any"""
    trains: bool = True


def libraries(wanted: Wanted, environ: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Yield whether the libraries load, and what they say about GPUs or about the operator."""
    environ = os.environ if environ is None else environ
    told = told_by("pipelines.doctor.libraries_probe", [str(wanted.device)], LIMIT_S, environ)
    yield loading(told)
    if wanted.gpus is not None and "gpus" in told.facts:
        yield from gpus(told.facts, wanted.gpus)
    elif wanted.device is Device.CPU and wanted.trains and "operator" in told.facts:
        yield operator(Path(told.facts["operator"]), environ)
    elif told.failure and all(f"{name} loads" in told.facts for name in LIBRARIES):
        text = f"torch does not say what it finds here: {told.failure}"
        yield warning(
            Group.MACHINE, "torch", text, "nothing is known of GPUs or the operator; please report the message"
        )


def loading(told: Told) -> Finding:
    """Return whether all libraries load. The first that does not is the one to repair."""
    for name in LIBRARIES:
        if f"{name} loads" in told.facts:
            continue
        if name not in told.facts and told.was_killed:
            text = f"`import {name}` has not ended within {LIMIT_S:g} s, so nothing is known of what comes after it"
            return warning(
                Group.SOFTWARE, "libraries", text, "try again when this machine is idle and its disk is quick"
            )
        how = f"fails: {told.facts[name]}" if name in told.facts else f"does not end well: {told.failure}"
        remedy = f"run python -c 'import {name}' to see all of it, and repair the environment: make setup"
        return broken(Group.SOFTWARE, "libraries", f"`import {name}` {how}", remedy)
    return fine(Group.SOFTWARE, "libraries", f"{', '.join(LIBRARIES)} load")


def gpus(facts: Mapping[str, Any], needed: float) -> Iterator[Finding]:
    """Yield what torch says about this machine's GPUs, and about NCCL."""
    found, driver = facts["gpus"], facts.get("driver")
    if not found:
        seen = facts.get("visible")
        if driver:
            why = facts.get("cuda_error") or "torch does not see a GPU"
            remedy = f"update the driver {driver} for CUDA {facts.get('cuda')}, or install torch for the driver's CUDA"
        else:
            why, remedy = (
                "there is no GPU here, or no NVIDIA driver",
                "install the driver: nvidia-smi should list the GPUs",
            )
        if seen is not None:
            why, remedy = f"{why} (CUDA_VISIBLE_DEVICES={seen!r})", f"unset CUDA_VISIBLE_DEVICES; else {remedy}"
        yield broken(Group.MACHINE, "GPUs", why, f"{remedy}; or set cluster.device=cpu")
        return
    names = sorted({one["name"] for one in found})
    least = min(one["memory"] for one in found) / _GIB
    text = f"{len(found)} x {', '.join(names)}, {least:.0f} GiB, driver {driver or 'unknown'}, CUDA {facts.get('cuda')}"
    if needed > len(found):
        remedy = "lower rollout.workers or min_workers, learner.ranks or the shares in cluster.gpus, or join a cluster with --address"
        yield broken(Group.MACHINE, "GPUs", f"{text}; the run needs {needed:g}", remedy)
    else:
        yield fine(Group.MACHINE, "GPUs", text)
    if facts.get("nccl"):
        yield fine(Group.MACHINE, "NCCL", f"version {facts['nccl']}")
    else:
        yield broken(Group.MACHINE, "NCCL", "torch has no NCCL", "install torch for CUDA: pip install -e '.[gpu]'")


def operator(folder: Path, environ: Mapping[str, str]) -> Finding:
    """Return whether DeepSpeed's shared-memory operator is compiled in `folder`, or can be."""
    if (folder / f"{OPERATOR}.so").is_file():
        return fine(Group.MACHINE, "DeepSpeed operator", f"compiled in {folder}")
    compiler = environ.get("CXX") or "c++"
    path = os.pathsep.join([str(programs()), environ.get("PATH", os.defpath)])
    missing = [program for program in (compiler, "ninja") if shutil.which(program, path=path) is None]
    if missing:
        text = f"not compiled yet, and {' and '.join(missing)} cannot be found, so the learner cannot start"
        remedies = {compiler: _COMPILER, "ninja": "install it into the environment: pip install ninja"}
        return broken(Group.MACHINE, "DeepSpeed operator", text, "; ".join(remedies[one] for one in missing))
    text = "not compiled yet: the first learner takes about a minute longer"
    return warning(Group.MACHINE, "DeepSpeed operator", text, f"compile it now: {_COMPILE}")
