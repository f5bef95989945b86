"""Which server a target means, and that a server which was started for it ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import psutil
import pytest

from pipelines.client import server as servers
from pipelines.client.connection import Connection
from pipelines.client.errors import ServerError
from pipelines.client.server import server_for
from tests.serving.stand_in import StandIn

ROOT = Path(__file__).parents[3]
SERVES = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.path.insert(0, {root!r})
from tests.serving.stand_in import StandIn
pathlib.Path("asked").write_text(" ".join(sys.argv[1:]))
print("getting ready", file=sys.stderr)
with StandIn() as server:
    pathlib.Path("pid").write_text(str(os.getpid()))
    print("ready:", server.url, "curl", server.url + "/v1/models", flush=True)
    try:
        while True:  # signal.pause() misses a signal that comes just before it
            time.sleep(0.05)
    except KeyboardInterrupt:
        pathlib.Path("drained").touch()
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(servers, "_USUAL", "http://127.0.0.1:9")
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    return Path("runs/demo")


def test_a_url_is_the_address_of_a_server() -> None:
    with server_for("http://127.0.0.1:9/") as address:
        assert address == "http://127.0.0.1:9"


def test_a_server_is_started_for_a_run_and_drained_at_the_end(run: Path) -> None:
    script = SERVES.format(root=str(ROOT))
    with server_for(str(run), serve=[sys.executable, "-c", script]) as address, Connection(address) as connection:
        assert connection.models()["relay"].id == "demo"
        assert Path("asked").read_text() == "runs/demo --port 0 --until-input-ends"
        pid = int(Path("pid").read_text())
    assert Path("drained").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_of_that_name_that_runs_already_is_used(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StandIn() as running:
        monkeypatch.setattr(servers, "_USUAL", running.url)
        with server_for("runs/demo", serve=["false"]) as address:
            assert address == running.url
        file = Path("demo.yaml")
        file.write_text(f"name: demo\nhttp: {{host: 0.0.0.0, port: {running.url.rpartition(':')[2]}}}\n")
        with server_for("demo.yaml", serve=["false"]) as address:
            assert address == running.url
        (run.parent / "other").mkdir()
        with pytest.raises(ServerError, match="before it was ready"), server_for("runs/other", serve=["false"]):
            pass


def test_a_server_that_cannot_start_says_why(run: Path) -> None:
    failing = [sys.executable, "-c", "import sys; print('student: no such folder', file=sys.stderr); sys.exit(2)"]
    with pytest.raises(ServerError, match=r"status 2 before it was ready:\nstudent: no such folder"):  # noqa: SIM117
        with server_for(str(run), serve=failing):
            pass


def test_a_server_that_does_not_end_is_killed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_DRAIN_S", 0.1)
    stubborn = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('pid', 'w').write(str(os.getpid()));"
    stubborn += "print('http://127.0.0.1:9', flush=True); time.sleep(600)"
    with server_for(str(run), serve=[sys.executable, "-c", stubborn]):
        pid = int(Path("pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_servers_input_ends_when_its_client_is_killed(run: Path) -> None:
    waits = "import os, sys; print('http://127.0.0.1:9', os.getpid(), flush=True); sys.stdin.read(); open('ended', 'w')"
    client = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pipelines.client.server import server_for
with server_for("runs/demo", serve=[sys.executable, "-c", {waits!r}]):
    print("up", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", client], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    (server,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    psutil.wait_procs([server], timeout=60)
    assert Path("ended").exists()


def test_what_is_neither_url_nor_file_is_refused() -> None:
    with pytest.raises(click.UsageError, match="nowhere is no URL, run folder or server file"), server_for("nowhere"):
        pass


def test_no_server_and_a_wrong_key_are_said_in_plain_words() -> None:
    with Connection("http://127.0.0.1:9") as connection, pytest.raises(ServerError, match="no server answers at http"):
        connection.models()
    with StandIn(api_key="sesame") as running:
        with Connection(running.url) as connection, pytest.raises(ServerError, match="wants an API key"):
            connection.models()
        with Connection(running.url, "sesame") as connection:
            assert set(connection.models()) == {"relay", "student", "teacher"}
    with pytest.raises(ServerError, match="characters that no key has"):
        Connection("http://127.0.0.1:9", "sesame\n")


def test_closing_a_stream_aborts_the_answer() -> None:
    import threading

    from tests.serving.stand_in import Waits, Writes

    with StandIn(lambda body, kind: [Writes("one"), Waits(threading.Event())]) as running:
        with Connection(running.url) as connection:
            stream = connection.stream({"model": "demo", "messages": []})
            next(stream)
            stream.close()
        assert running.left.wait(20)


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    from email.utils import formatdate

    from pipelines.client.errors import retry_after

    assert retry_after("7") == 7.0
    assert 50 < (retry_after(formatdate(time.time() + 60, usegmt=True)) or 0) <= 60
    assert [retry_after(value) for value in (None, "soon", "nan", "-3")] == [None, None, None, 0.0]
