"""Finds the server for a target, or starts one for as long as it is needed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from cluster.store.copies import folder_of
from pipelines.client.connection import Connection
from pipelines.client.errors import ServerError
from pipelines.terminal.interruption import ended_at_once

SERVE: tuple[str, ...] = (sys.executable, "-m", "pipelines", "serve")
"""the command that starts a server; its target and options follow"""

_EXPERIMENT = "experiment.yaml"
_USUAL = "http://127.0.0.1:8000"
_ADDRESS = re.compile(r"https?://[\w.\-]+(?::\d+)?|https?://\[[\da-fA-F:]+\](?::\d+)?")
_DRAIN_S = 30.0
_TAIL_LINES = 12


@contextmanager
def server_for(target: str, api_key: str | None = None, serve: Sequence[str] = SERVE) -> Iterator[str]:
    """Yield the address of a relay server for `target`, such as `http://127.0.0.1:8000`.

    * A URL is the address of a server that somebody else runs.
    * A run's folder or URL in a store, or a server's YAML file: if a server of that name answers where `relayllm serve` listens (the YAML's
      `http`, by default port 8000 of this machine), its address. Else a child process is started by `serve`, the target
      and `--port 0 --until-input-ends`. The first address that it prints is its own. It is ended with the block, by SIGTERM, as
      a server that drains; a child that does not end within 30 s is killed with all its own children. Its input ends
      when this process is killed.

    Raises `ServerError` if the child ends before it names its address, with the last lines of its log, and
    `click.UsageError` if the target is nothing of that.
    """
    if re.match(r"https?://", target):
        yield target.rstrip("/")
        return
    path = folder_of(target, models=True)
    if not path.exists():
        raise click.UsageError(f"{target} is no URL, run folder or server file: http://127.0.0.1:8000, or runs/demo")
    expected = _expected(path)
    if _serves(expected, api_key):
        click.echo(f"a server of {expected.name} runs at {expected.address}", err=True)
        yield expected.address
        return
    with _child([*serve, str(path), "--port", "0", "--until-input-ends"]) as address:
        yield address


@dataclass(frozen=True, slots=True)
class _Expected:
    name: str
    address: str


def _expected(path: Path) -> _Expected:
    """Return how a server of the target is called, and where it listens if nobody says otherwise."""
    if path.is_dir():
        named = _read(path / _EXPERIMENT) if (path / _EXPERIMENT).is_file() else {}
        return _Expected(str(named.get("name", path.resolve().name)), _USUAL)
    data = _read(path)
    http = data["http"] if isinstance(data.get("http"), dict) else {}
    port = http.get("port") or 8000
    host = http.get("host", "127.0.0.1")
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return _Expected(str(data.get("name", path.stem)), f"http://{f'[{host}]' if ':' in host else host}:{port}")


def _read(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise click.UsageError(f"{file} cannot be read: {error}") from None
    return data if isinstance(data, dict) else {}


def _serves(expected: _Expected, api_key: str | None) -> bool:
    try:
        with Connection(expected.address, api_key) as connection:
            return connection.models()["relay"].id == expected.name
    except ServerError:
        return False


@contextmanager
def _child(command: Sequence[str]) -> Iterator[str]:
    """Yield the address that the command prints, and end the process with the block."""
    with tempfile.NamedTemporaryFile("w+", prefix="relayllm-serve-", suffix=".log", delete=False) as log:
        path = Path(log.name)
        click.echo(f"starting a server: {shlex.join(command)} (its log: {path})", err=True)
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # nothing is written to it; it closes when this process ends, however that happens
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C stops an answer, and not the server
        )
    with ended_at_once(lambda: _kill(process)):
        try:
            yield _address(process, path)
        finally:
            _end(process)
    path.unlink(missing_ok=True)


def _address(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        if found := _ADDRESS.search(line):
            threading.Thread(target=process.stdout.read, daemon=True).start()  # so that it never blocks
            return found[0]
    status = process.wait()
    said = [*printed, *log.read_text(encoding="utf-8", errors="replace").splitlines()]
    tail = "\n".join(line.rstrip() for line in said[-_TAIL_LINES:])
    raise ServerError(f"the server ended with status {status} before it was ready:\n{tail}")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)  # in a job in the background, SIGINT may be ignored
        try:
            process.wait(_DRAIN_S)
        except subprocess.TimeoutExpired:
            click.echo("the server does not end by itself, so it is killed", err=True)
    _kill(process)
    process.wait()


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill the process and what it has left behind in its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
