"""Loads the libraries one after the other and prints what they say: `python -m pipelines.doctor.libraries_probe cpu|gpu`."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

from actors.learner.operator import operator_folder
from pipelines.doctor.children import tell

LIBRARIES = ("torch", "transformers", "deepspeed", "vllm")


def main(device: str) -> None:
    """Print one JSON object for each fact, as soon as it is known."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if device == "cpu":
        os.environ |= {"DS_ACCELERATOR": "cpu"}
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except Exception as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            tell(**{name: f"{type(error).__name__}: {lines[0] if lines else 'no message'}"})
            continue
        tell(**{f"{name} loads": True})
    if "torch" in sys.modules:
        (_gpus if device == "gpu" else _operator)()


def _operator() -> None:
    tell(operator=str(operator_folder()))


def _gpus() -> None:
    import torch

    tell(driver=_driver(), cuda=torch.version.cuda, visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        tell(cuda_error=str(error).splitlines()[0], gpus=[])
        return
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    tell(gpus=[{"name": one.name, "memory": one.total_memory} for one in properties])
    if torch.distributed.is_nccl_available():
        tell(nccl=".".join(map(str, torch.cuda.nccl.version())))


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return listed[0] if listed else None


if __name__ == "__main__":
    main(sys.argv[1])
