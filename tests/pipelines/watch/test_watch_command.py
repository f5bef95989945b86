"""The command `relayllm watch`: what it says, what it refuses, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pipelines.__main__ import main

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_it_serves_until_it_is_stopped_and_warns_where_it_is_public(runs: Path, host: str, warned: bool) -> None:
    arguments = [sys.executable, "-m", "pipelines", "watch", str(runs), "--port", "0", "--host", host]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert line.startswith(f"watching {runs}: http://{host}:")
        port = line.split(f"{host}:")[1].split()[0]
        found = httpx.get(f"http://127.0.0.1:{port}/api/runs", timeout=60).json()
        assert len(found["runs"]) == 5
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert ("warning: 0.0.0.0 is public" in process.stderr.read()) == warned


def test_without_runs_it_says_what_to_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("watch", "top"):
        assert main([command]) == 2
        assert "there is no folder runs here" in capsys.readouterr().err
        assert main([command, "nowhere"]) == 2
        assert "nowhere is no folder" in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["watch", str(runs), "--port", str(port)]) == 2
    assert f"--port {port}: cannot be bound" in capsys.readouterr().err
