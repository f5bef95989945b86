"""Checks the disks where a run writes, and the shared memory that Ray's object store uses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from cluster.machine import this_machine
from pipelines.doctor.findings import Finding, Group, broken, fine, warning
from pipelines.experiment.schema import Experiment
from pipelines.memory.model_size import model_size
from pipelines.memory.roles import GB

SHARED_MEMORY = Path("/dev/shm")
_STATES_BYTES = 18.0
"""of a weight in a checkpoint: bfloat16, a float32 copy and Adam's two states, with room for headers"""
_MODEL_BYTES = 4.0
_LOGS = 0.5 * GB
_RAY_NEEDS = 5.0 * GB
_RAY_FULL = 0.95
"""share of a disk that is in use from which on Ray makes no more objects there"""
_OBJECT_STORE_SHARE = 0.3
"""share of a machine's memory that Ray gives to its object store unless told otherwise"""


def run_bytes(experiment: Experiment) -> float:
    """Return about how many bytes a run writes into its directory: checkpoints, models after each stage, and logs."""
    size = model_size(experiment.models.student)
    if size is None or not experiment.trains:
        return _LOGS
    kept = (experiment.grpo.keep_checkpoints + 1) if experiment.grpo.enabled else 0
    models = experiment.warmup.enabled + experiment.grpo.enabled
    return _LOGS + size.parameters * (kept * _STATES_BYTES + (models + 1) * _MODEL_BYTES)


def places(experiment: Experiment, environ: Mapping[str, str]) -> dict[str, tuple[Path, float]]:
    """Return folder and needed bytes of each place that a run writes to, by what it is called."""
    ray = Path(environ.get("RAY_TMPDIR") or environ.get("TMPDIR") or "/tmp") / "ray"
    return {
        "run_dir": (experiment.directory, run_bytes(experiment)),
        "models.cache_dir": (experiment.models.cache_dir, 0.1 * GB),
        "Ray's folder": (ray, _RAY_NEEDS),
    }


def disk(name: str, folder: Path, needed: float) -> Finding:
    """Return whether files can be written to a folder, or made in the nearest one above it that exists, and for how much."""
    there = nearest(folder)
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        text = f"{folder}: nothing can be written to {there}"
        return broken(Group.MACHINE, f"disk of {name}", text, f"{_elsewhere(name)}, or change the folder's permissions")
    total, _, free = shutil.disk_usage(there)
    text = f"{folder}: {_gb(free)} of {_gb(total)} free"
    if free < needed:
        text = f"{text}, and about {_gb(needed)} are needed"
        return broken(Group.MACHINE, f"disk of {name}", text, f"free some space, or {_elsewhere(name)}")
    if name == "Ray's folder" and free < (1 - _RAY_FULL) * total:
        text = f"{text}: Ray makes no objects on a disk that is {_RAY_FULL:.0%} full"
        return broken(Group.MACHINE, f"disk of {name}", text, f"free some space, or {_elsewhere(name)}")
    if free < 2 * needed:
        text = f"{text}, and about {_gb(needed)} are needed: little is left for other runs"
        return warning(Group.MACHINE, f"disk of {name}", text, f"free some space, or {_elsewhere(name)}")
    return fine(Group.MACHINE, f"disk of {name}", text)


def disks(experiment: Experiment, environ: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Yield a finding for each place that a run writes to."""
    for name, (folder, needed) in places(experiment, os.environ if environ is None else environ).items():
        yield disk(name, folder, needed)


def shared_memory(needed: float, folder: Path = SHARED_MEMORY) -> Finding:
    """Return whether shared memory has `needed` bytes free, and all that Ray's object store would like to have."""
    remedy = "make it larger: docker run --shm-size=8g, a memory volume at /dev/shm on Kubernetes, or mount -o remount,size=8g"
    if not folder.is_dir():
        return broken(Group.MACHINE, str(folder), "is not there, and weights and objects go through it", remedy)
    total, _, free = shutil.disk_usage(folder)
    text = f"{_gb(free)} of {_gb(total)} free"
    if free < needed:
        return broken(Group.MACHINE, str(folder), f"{text}, and weights need about {_gb(needed)}", remedy)
    wished = _OBJECT_STORE_SHARE * this_machine().total
    if free < 0.9 * wished:
        text = f"{text}, and Ray's object store would take {_gb(wished)}: it moves to the disk, which is slower"
        return warning(Group.MACHINE, str(folder), text, remedy)
    return fine(Group.MACHINE, str(folder), text)


def nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    folder = folder.expanduser().absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())


def _elsewhere(name: str) -> str:
    return "set RAY_TMPDIR to another folder" if name == "Ray's folder" else f"set {name} to another folder"


def _gb(size: float) -> str:
    return f"{size / GB:.1f} GB"
