"""The table of runs: printed once into a pipe, live in a terminal until q or Ctrl-C."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.watch.fleet import Fleet
from pipelines.watch.top import _spark, _view
from tests.pipelines.watch.conftest import add_line

ROOT = Path(__file__).parents[3]
_DEADLINE_S = 60
ENVIRONMENT = os.environ | dict(PYTHONPATH=str(ROOT), TERM="xterm-256color", COLUMNS="160", LINES="40")


def command(runs: Path) -> list[str]:
    return [sys.executable, "-m", "pipelines", "top", str(runs), "--every", "0.2"]


def test_a_pipe_gets_the_table_once(runs: Path) -> None:
    done = subprocess.run(command(runs), capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=ROOT)
    assert done.returncode == 0 and done.stderr == "" and "\x1b" not in done.stdout
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert "running" in rows["live"] and "stopped" in rows["crashed"] and "broken" in rows["broken"]
    assert "alarm" in rows["collapsed"] and "alarm" not in rows["good"]
    assert "alarm cut_off collapsed: " in done.stdout
    total = done.stdout.splitlines()[-1]
    assert all(said in total for said in ("5 runs: ", "2 finished", "1 stopped", "1 broken", "1 running"))


@pytest.mark.parametrize("end", ["q", "\x03"], ids=["q", "Ctrl-C"])
def test_a_terminal_shows_what_is_new_until_a_key_ends_it(runs: Path, end: str) -> None:
    master, slave = pty.openpty()
    enter = f"import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv({sys.executable!r}, {command(runs)!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", enter],
        stdin=slave, stdout=slave, stderr=slave, env=ENVIRONMENT, start_new_session=True, cwd=ROOT,
    )  # fmt: skip
    os.close(slave)
    said = ""

    def until(text: str) -> None:
        nonlocal said
        deadline = time.monotonic() + _DEADLINE_S
        while text not in said:
            assert time.monotonic() < deadline and select.select([master], [], [], _DEADLINE_S)[0], said
            said += os.read(master, 65536).decode(errors="replace")

    until("q quits")
    metrics = {"rollout/accuracy": 0.4321}
    add_line(runs / "live" / "metrics.jsonl", {"stage": "grpo", "step": 25, "time_s": 500.0, "metrics": metrics})
    until("43.2")
    os.write(master, end.encode())
    assert process.wait(_DEADLINE_S) == 0
    os.close(master)


def test_a_narrow_or_low_terminal_keeps_states_and_shares(runs: Path) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(_view(Fleet([runs]).refresh(), 80, time.time(), 24))
    text = console.export_text()
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "live" in text and "running" in text and "cut off" in text and "q quits" in text


def test_names_of_folders_cannot_command_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "evil\x1b[2J").mkdir()
    (tmp_path / "evil\x1b[2J" / "metrics.jsonl").mkdir()
    from rich.console import Console

    with open(os.devnull, "w") as nowhere:
        console = Console(width=120, record=True, file=nowhere)
        console.print(_view(Fleet([tmp_path]).refresh(), 120, time.time()))
    text = console.export_text()
    assert "\x1b" not in text and "evil?[2J" in text


def test_a_sparkline_shows_the_course() -> None:
    assert _spark([0.0, 0.5, 1.0]) == "▁▅█" and _spark([0.0, 0.0]) == "▁▁" and len(_spark([0.5] * 48)) == 12
