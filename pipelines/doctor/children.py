"""Runs a module in a process of its own, which may hang or crash without harm, and reads the JSON that it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Told:
    """What a process printed, and how it ended."""

    facts: dict[str, Any]
    """its lines, each a JSON object, merged in order; all that was printed before a crash or the limit"""
    failure: str | None
    """how it failed, in words; None if it ended well"""
    was_killed: bool = False
    """whether it was ended because it took too long"""


def told_by(module: str, arguments: list[str], limit_s: float, environ: Mapping[str, str] | None = None) -> Told:
    """Run `python -m module`, and return what it told. After `limit_s` it is killed with all processes that it started.

    Its output goes to files and not to pipes, because a process that outlives it could hold a pipe open for ever.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            env=dict(os.environ if environ is None else environ),
            start_new_session=True,
        )
        with _CHILDREN.lock:
            _CHILDREN.running.add(child)
            if _CHILDREN.over:
                os.killpg(child.pid, signal.SIGKILL)
        killed = False
        try:
            status = child.wait(limit_s)
            failure = None if status == 0 else _ending(status, _text(errors))
        except subprocess.TimeoutExpired:
            failure, killed = f"no answer within {limit_s:g} s", True
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            with _CHILDREN.lock:
                _CHILDREN.running.discard(child)
        return Told(_facts(_text(out)), failure, killed)


def end_children() -> None:
    """Kill all processes that `told_by` has started, with theirs, and start no more: the check is over."""
    with _CHILDREN.lock:
        _CHILDREN.over = True
        for child in _CHILDREN.running:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


class _Children:
    """The processes that are running; threads start and end them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen[bytes]] = set()
        self.over = False


_CHILDREN = _Children()


def tell(**facts: object) -> None:
    """Print facts from within such a process, at once."""
    print(json.dumps(facts), flush=True)


def _facts(text: str) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for line in text.splitlines():
        try:
            told = json.loads(line)
        except ValueError:  # what a library prints
            continue
        if isinstance(told, dict):
            facts |= told
    return facts


def _ending(status: int, errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return lines[-1] if lines else f"ended with status {status}"


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode("utf-8", "replace"))
