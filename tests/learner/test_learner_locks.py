"""A build of DeepSpeed's operator that was killed does not stop later learners for ever."""

import os
import time
from pathlib import Path

import pytest

from actors.learner.distributed import remove_stale_locks


def test_only_the_lock_of_a_build_that_cannot_still_run_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    killed, running = (tmp_path / name / "deepspeed_shm_comm" / "lock" for name in ("killed", "running"))
    for lock in (killed, running):
        lock.parent.mkdir(parents=True)
        lock.touch()
    an_hour_ago = time.time() - 3600
    os.utime(killed, (an_hour_ago, an_hour_ago))
    remove_stale_locks()
    assert (killed.exists(), running.exists()) == (False, True)


def test_without_a_folder_of_builds_there_is_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "none"))
    remove_stale_locks()
