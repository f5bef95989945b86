"""No process of a check outlives the doctor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

HANGS = "import os, time; from pathlib import Path; Path('pid').write_text(str(os.getpid())); os.mkfifo('born'); time.sleep(600)"
DOCTOR = """
import sys
from pipelines.doctor import children, plan
from pipelines.doctor.checks import Check
from pipelines.doctor.findings import Group
plan.local_checks = lambda experiment: [Check(Group.MACHINE, "hangs", lambda: children.told_by("hangs", [], 600.0), 600.0)]
plan.run_checks = lambda experiment: []
from pipelines.__main__ import main
from pipelines.terminal.interruption import interruptible
sys.exit(interruptible(lambda: main(["doctor"])))
"""


def test_a_check_ends_with_a_doctor_that_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    doctor = subprocess.Popen([sys.executable, "-c", DOCTOR], cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths})
    while not (tmp_path / "born").exists():
        assert doctor.poll() is None
    check = psutil.Process(int((tmp_path / "pid").read_text()))
    doctor.send_signal(signal.SIGINT)
    assert doctor.wait(60) == 130
    check.wait(60)
