"""Checks that hang or crash, alone and in processes of their own."""

import os
import select
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines.doctor.checks import Check, results
from pipelines.doctor.children import told_by
from pipelines.doctor.findings import Group, Level, fine

FINE = fine(Group.MACHINE, "disk", "roomy")


def test_a_check_that_hangs_or_fails_says_so_and_harms_no_other() -> None:
    released = threading.Event()

    def hang() -> list[object]:
        released.wait()
        return []

    def leave() -> list[object]:
        raise SystemExit(3)

    checks = [
        Check(Group.MACHINE, "hanging", hang, limit_s=0.2),  # type: ignore[arg-type]
        Check(Group.SOFTWARE, "raising", lambda: [1 / 0]),  # type: ignore[list-item]
        Check(Group.SOFTWARE, "leaving", leave),  # type: ignore[arg-type]
        Check(Group.MACHINE, "disk", lambda: [FINE]),
    ]
    found, hangs = results(checks)
    released.set()
    assert hangs
    assert [one.level for one in found] == [Level.WARNING] * 3 + [Level.FINE]
    assert "no answer within 0.2 s" in found[0].text
    assert "the check itself failed: ZeroDivisionError: division by zero" in found[1].text
    assert "the check itself failed: SystemExit: 3" in found[2].text


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> str:
    (folder / "told.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{Path(__file__).parents[3]}")
    return "told"


def test_what_a_process_told_before_it_crashed_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import os, signal\nfrom pipelines.doctor.children import tell\ntell(seen=1)\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    told = told_by(module(tmp_path, monkeypatch, source), [], limit_s=60)
    assert told.facts == {"seen": 1} and told.failure == "ended by SIGSEGV"


def test_a_process_that_fails_gives_its_last_line_of_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = told_by(module(tmp_path, monkeypatch, "print('noise')\nraise OSError('no such device')\n"), [], limit_s=60)
    assert told.facts == {} and told.failure == "OSError: no such device"


def test_a_process_that_hangs_is_killed_with_those_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "import subprocess, time\nchild = subprocess.Popen(['sleep', '600'])\n"
        "print('{\"child\": %d}' % child.pid, flush=True)\ntime.sleep(600)\n"
    )
    told = told_by(module(tmp_path, monkeypatch, source), [], limit_s=5)
    assert told.failure == "no answer within 5 s" and told.was_killed
    with suppress(ProcessLookupError):  # it is gone already
        ended, _, _ = select.select([os.pidfd_open(told.facts["child"])], [], [], 60)
        assert ended


def test_the_command_ends_although_a_check_hangs() -> None:
    script = (
        "import sys, time\nimport pipelines.doctor.plan as plan\nfrom pipelines.doctor.checks import Check\n"
        "from pipelines.doctor.findings import Group\n"
        "hang = lambda: [time.sleep(600)]\n"
        "plan.local_checks = lambda experiment: [Check(Group.MACHINE, 'disks', hang, 0.1)]\n"
        "plan.run_checks = lambda experiment: []\n"
        "from pipelines.__main__ import main\nsys.exit(main(['doctor']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[3],
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
    )
    assert done.returncode == 0, done.stderr
    assert "no answer within 0.1 s" in done.stdout and "The run can start: 1 warning" in done.stdout
