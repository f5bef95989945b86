"""A checkpoint on a disk that is full or read-only: the last good one stays, and the message says why. The disks are real."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.checksums import damage, seal
from cluster.files import directory_commit


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a disk of 4 MiB with one good checkpoint."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"file systems cannot be mounted here: {mounted.stderr.strip()}")
    try:
        with directory_commit(disk / "000001") as partial:
            (partial / "learner").write_bytes(os.urandom(2_000_000))
            seal(partial)
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def write_checkpoint(disk: Path, size: int) -> None:
    with directory_commit(disk / "000002") as partial:
        (partial / "learner").write_bytes(os.urandom(size))
        seal(partial)


def test_a_full_disk_keeps_the_last_good_checkpoint(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(small_disk, 3_000_000)
    assert not (small_disk / "000002").exists()
    assert damage(small_disk / "000001") is None
    write_checkpoint(small_disk, 1_000_000)  # the leftovers of the failed one are gone
    assert damage(small_disk / "000002") is None


def test_a_read_only_disk_keeps_the_last_good_checkpoint(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        write_checkpoint(small_disk, 1000)
    assert damage(small_disk / "000001") is None
