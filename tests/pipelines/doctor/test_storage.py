"""Disks that are full or cannot be written, and shared memory that is too small."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.doctor.findings import Level
from pipelines.doctor.storage import disk, places, run_bytes, shared_memory
from tests.pipelines.doctor.conftest import demo


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a file system of 1 MiB in memory."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_with_less_than_is_needed_is_a_problem(tmp_path: Path) -> None:
    found = disk("run_dir", tmp_path / "runs" / "demo", needed=1e18)
    assert found.level is Level.PROBLEM
    assert "about 1000000000.0 GB are needed" in found.text and "set run_dir to another folder" in found.remedy


def test_a_full_disk_is_a_problem_for_ray(small_disk: Path) -> None:
    (small_disk / "log").write_bytes(b"x" * 1020 * 1024)
    found = disk("Ray's folder", small_disk / "ray", needed=1.0)
    assert found.level is Level.PROBLEM and "95% full" in found.text and "RAY_TMPDIR" in found.remedy


def test_a_disk_that_is_nearly_too_small_is_a_warning(small_disk: Path) -> None:
    assert disk("run_dir", small_disk, needed=0.7 * 2**20).level is Level.WARNING
    assert disk("run_dir", small_disk, needed=0.4 * 2**20).level is Level.FINE


def test_a_place_where_no_folder_can_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = disk("models.cache_dir", tmp_path / "file" / "cache", needed=1.0)
    assert found.level is Level.PROBLEM and f"nothing can be written to {tmp_path}/file" in found.text


def test_small_shared_memory_is_a_problem_for_weights_and_a_warning_for_the_object_store(small_disk: Path) -> None:
    assert shared_memory(needed=2**21, folder=small_disk).level is Level.PROBLEM
    found = shared_memory(needed=2**10, folder=small_disk)
    assert found.level is Level.WARNING and "object store" in found.text and "--shm-size" in found.remedy


def test_missing_shared_memory_is_a_problem(tmp_path: Path) -> None:
    assert shared_memory(needed=1.0, folder=tmp_path / "shm").level is Level.PROBLEM


def test_all_places_of_a_run_are_looked_at(tmp_path: Path) -> None:
    found = places(demo(f"run_dir={tmp_path}/r", f"models.cache_dir={tmp_path}/c"), {"RAY_TMPDIR": "/scratch"})
    assert [str(folder) for folder, _ in found.values()] == [f"{tmp_path}/r", f"{tmp_path}/c", "/scratch/ray"]


def test_more_checkpoints_need_a_larger_disk() -> None:
    assert run_bytes(demo("grpo.keep_checkpoints=20")) > run_bytes(demo()) > run_bytes(demo("grpo.enabled=false"))
