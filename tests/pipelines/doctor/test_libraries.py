"""What the libraries say: imports that fail, GPUs that are not there, an operator that cannot be compiled."""

from pathlib import Path
from typing import Any

import pytest

from cluster.devices import Device
from pipelines.doctor.children import Told
from pipelines.doctor.findings import Level
from pipelines.doctor.libraries import Wanted, gpus, libraries, loading, operator
from pipelines.doctor.libraries_probe import LIBRARIES

LOADED = {f"{name} loads": True for name in LIBRARIES}
GPU = {"name": "NVIDIA H100", "memory": 80 * 2**30}
DRIVEN: dict[str, Any] = {"driver": "570.1", "cuda": "12.8", "visible": None, "nccl": "2.27.5", "gpus": [GPU, GPU]}


def test_a_library_that_fails_to_load_is_named_with_its_error() -> None:
    facts = {"torch loads": True, "transformers": "RuntimeError: operator torchvision::nms does not exist"}
    found = loading(Told(facts, None))
    assert found.level is Level.PROBLEM and "`import transformers` fails: RuntimeError: operator" in found.text


def test_a_library_that_ends_its_process_is_named() -> None:
    found = loading(Told({"torch loads": True, "transformers loads": True}, "ended by SIGILL"))
    assert found.level is Level.PROBLEM and "`import deepspeed` does not end well: ended by SIGILL" in found.text


def test_libraries_that_load_slowly_are_a_warning_because_nothing_is_broken() -> None:
    found = loading(Told({"torch loads": True}, "no answer within 300 s", was_killed=True))
    assert found.level is Level.WARNING and "`import transformers` has not ended within 300 s" in found.text


def test_libraries_that_load_are_fine() -> None:
    assert loading(Told(LOADED, None)).level is Level.FINE


def test_gpus_are_told_with_memory_and_driver_and_counted() -> None:
    enough, nccl = gpus(DRIVEN, needed=2)
    assert enough.level is Level.FINE and "2 x NVIDIA H100, 80 GiB, driver 570.1, CUDA 12.8" in enough.text
    assert nccl.text == "version 2.27.5"
    short, _ = gpus(DRIVEN, needed=8)
    assert short.level is Level.PROBLEM and "the run needs 8" in short.text and "--address" in short.remedy


@pytest.mark.parametrize(
    ("facts", "text", "remedy"),
    [
        ({"gpus": [], "driver": None}, "no GPU here", "install the driver"),
        (
            {"gpus": [], "driver": "470.1", "cuda": "13.0", "cuda_error": "The NVIDIA driver is too old"},
            "too old",
            "update the driver 470.1 for CUDA 13.0",
        ),
        ({"gpus": [], "driver": "570.1", "visible": ""}, "CUDA_VISIBLE_DEVICES=''", "unset CUDA_VISIBLE_DEVICES"),
    ],
)
def test_why_there_is_no_gpu_is_said(facts: dict[str, Any], text: str, remedy: str) -> None:
    (found,) = gpus(facts, needed=1)
    assert found.level is Level.PROBLEM and text in found.text and remedy in found.remedy


def test_an_operator_without_a_compiler_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.doctor.libraries.programs", lambda: tmp_path)
    found = operator(tmp_path, {"PATH": str(tmp_path)})
    assert found.level is Level.PROBLEM and "c++ and ninja cannot be found" in found.text
    assert "apt-get install g++" in found.remedy


def test_the_environments_own_ninja_is_enough(tmp_path: Path) -> None:
    found = operator(tmp_path, {"PATH": str(tmp_path)})
    assert found.level is Level.PROBLEM and found.text.count("ninja") == 0


def test_an_operator_that_can_be_compiled_is_a_warning_with_the_command(tmp_path: Path) -> None:
    for name in ("c++", "ninja"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    found = operator(tmp_path / "extensions", {"PATH": str(tmp_path)})
    assert found.level is Level.WARNING and "python -m actors.learner.distributed" in found.remedy


def test_a_compiled_operator_is_fine(tmp_path: Path) -> None:
    (tmp_path / "deepspeed_shm_comm.so").write_bytes(b"")
    assert operator(tmp_path, {"PATH": ""}).level is Level.FINE


@pytest.mark.slow
def test_the_libraries_of_this_environment_load_and_there_is_no_gpu(tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions")}
    loads, compiled = libraries(Wanted(Device.CPU), environ)
    assert loads.level is Level.FINE
    assert compiled.name == "DeepSpeed operator" and compiled.level is not Level.FINE
