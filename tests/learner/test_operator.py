"""DeepSpeed's operator: a build that was killed does not stop later learners for ever."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from actors.learner.operator import operator_folder

COMPILE = [sys.executable, "-m", "actors.learner.distributed"]


def test_each_python_environment_has_an_operator_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    root = {"TORCH_EXTENSIONS_DIR": "/somewhere"}
    here = operator_folder(root)
    monkeypatch.setattr(sys, "prefix", "/another/environment")
    assert here.is_relative_to("/somewhere") and operator_folder(root).is_relative_to("/somewhere")
    assert operator_folder(root) != here


def test_a_lock_of_a_killed_build_is_not_waited_for() -> None:
    lock = operator_folder() / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with (lock.parent.parent / "compiling.lock").open("w") as held:  # else a learner of another test could meet it
        fcntl.flock(held, fcntl.LOCK_EX)
        lock.touch()
    subprocess.run(COMPILE, check=True, capture_output=True, timeout=280)


def test_another_ninja_on_the_path_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "ninja").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "ninja").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    subprocess.run(COMPILE, env=os.environ | {"PATH": path}, check=True, capture_output=True, timeout=280)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_build_that_is_killed_is_begun_again(tmp_path: Path) -> None:
    environment = os.environ | {"TORCH_EXTENSIONS_DIR": str(tmp_path)}
    folder = operator_folder(environment)
    build = subprocess.Popen(COMPILE, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    itself = psutil.Process(build.pid)
    while build.poll() is None and not (folder / "lock").exists():
        pass
    parts = [itself, *itself.children(recursive=True)]
    for part in parts:
        part.kill()
    build.wait()
    psutil.wait_procs(parts)
    assert (folder / "lock").exists(), "the build ended before it could be killed"
    subprocess.run(COMPILE, env=environment, check=True, capture_output=True, timeout=500)
    assert (folder / f"{folder.name}.so").is_file() and not (folder / "lock").exists()
