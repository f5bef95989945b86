"""The command in a real terminal: colours, and Ctrl-C by the terminal itself."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.serving.stand_in import Calls, StandIn, Waits, Writes

ROOT = Path(__file__).parents[3]
_DEADLINE_S = 60


class Terminal:
    """A chat in a pseudo-terminal."""

    def __init__(self, url: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM")}
        variables |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import os, fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
             f"os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'pipelines', 'chat', {url!r}])"],
            stdin=slave, stdout=slave, stderr=slave, env=variables, start_new_session=True, cwd=ROOT,
        )  # fmt: skip
        os.close(slave)
        self.said = ""

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def until(self, text: str) -> str:
        """Wait for a text after what was waited for before, and return what came with it."""
        until = time.monotonic() + _DEADLINE_S
        while text not in self.said:
            assert time.monotonic() < until and select.select([self._master], [], [], _DEADLINE_S)[0], self.said
            self.said += os.read(self._master, 4096).decode()
        found, _, self.said = self.said.partition(text)
        return found + text

    def until_it_waits(self) -> None:
        """Wait until the process sleeps."""
        until = time.monotonic() + _DEADLINE_S
        while Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < until, "it does not wait"

    def end(self) -> int:
        status = self.process.wait(_DEADLINE_S)
        os.close(self._master)
        return status


@pytest.mark.parametrize(("variables", "marked"), [({}, "\x1b[4;38;5;208m42\x1b[0m"), ({"NO_COLOR": "1"}, "⟦42⟧")])
def test_the_teachers_part_is_in_colour_or_in_brackets(variables: dict[str, str], marked: str) -> None:
    with StandIn(lambda body, kind: [Writes("It is "), Calls("42", 5), Writes(".")]) as server:
        server.memory = "question"
        terminal = Terminal(server.url, **variables)
        greeting = terminal.until("> ")
        assert "does not see the earlier ones" in greeting
        assert "policy version 80" in greeting and "for example: start 3" in greeting
        terminal.type("What?\n")
        assert marked in terminal.until("1.25 s]")
        terminal.type("/quit\n")
        assert terminal.end() == 0


def test_ctrl_c_stops_an_answer_and_twice_leaves() -> None:
    with StandIn(lambda body, kind: [Writes("So far"), Waits(threading.Event())]) as server:
        terminal = Terminal(server.url)
        terminal.until("> ")
        terminal.type("What?\n")
        terminal.until("So")
        terminal.until("far")
        terminal.type("\x03")
        terminal.until("stopped; Ctrl-C again leaves")
        assert server.left.wait(20)
        terminal.until("> ")
        while terminal.process.poll() is None:  # the two seconds for the second one may be over by now
            terminal.type("\x03")
            with suppress(subprocess.TimeoutExpired):
                terminal.process.wait(1.5)
        assert terminal.end() == 0


def test_sigterm_ends_the_chat_at_once() -> None:
    with StandIn() as server:
        terminal = Terminal(server.url)
        terminal.until("> ")
        terminal.until_it_waits()  # a signal between the prompt and the waiting for a line would be seen at the next line
        terminal.process.terminate()
        assert terminal.end() == 143


def test_lines_can_be_piped_in() -> None:
    with StandIn() as server:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", "chat", server.url],
            input="One?\n\n/stats\n", capture_output=True, text=True, check=False, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""
    assert "⟦\\boxed{42} for sure⟧" in done.stdout and "relay: 1 answer" in done.stdout
