"""Signals that ask a run to stop: what a process says, how it ends, and with which status."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
WAITS = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.{hangup})
sys.argv = ["somewhere/pipelines/__main__.py", "run", "my demo.yaml", "seed=1"]
from pipelines.terminal.interruption import ended_at_once, interruptible

def wait():
    while True:  # signal.pause() misses a signal that comes just before it
        time.sleep(0.02)

def command():
    with ended_at_once(lambda: print("ended at once", flush=True)):
        try:
            print("waiting", flush=True)
            {waiting}
            wait()
        finally:
            print("ending", flush=True)
            {ending}

sys.exit(interruptible(command))
"""
FOR_EVER_IN_C = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Give a function that starts a process which waits for signals, after `waiting`, and takes `ending` to end in order."""
    started: list[subprocess.Popen[str]] = []

    def begin(ending: str = "pass", hangup: str = "SIG_DFL", waiting: str = "pass") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WAITS.format(ending=ending, hangup=hangup, waiting=waiting)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "terminal")]
)
def test_a_signal_ends_the_command_in_order_and_says_how_to_go_on(start: Start, number: int, name: str) -> None:
    process = start()
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert output == "ending\n"
    assert name in errors
    assert errors.splitlines()[-1].endswith("To go on: python -m pipelines run 'my demo.yaml' seed=1")
    assert "Traceback" not in errors


def test_a_second_ctrl_c_ends_the_process_at_once(start: Start) -> None:
    process = start(ending="wait()")
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert output == "ended at once\n"
    assert "To go on" not in errors


def test_a_second_ctrl_c_ends_a_process_whose_main_thread_never_returns_to_python(start: Start) -> None:
    process = start(ending=FOR_EVER_IN_C)
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (128 + signal.SIGTERM, "ended at once\n")


def test_two_ctrl_c_count_as_two_while_the_main_thread_is_not_in_python(start: Start) -> None:
    process = start(waiting=FOR_EVER_IN_C, ending=FOR_EVER_IN_C)
    assert process.stdout is not None
    while process.poll() is None:  # the kernel makes one signal of two that it has not delivered yet
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
    assert process.returncode == 130
    assert process.stdout.read().endswith("ended at once\n")


def test_a_command_that_handles_ctrl_c_itself_gets_every_one(start: Start) -> None:
    process = start(
        waiting="signal.signal(signal.SIGINT, lambda *_: print('mine', flush=True)); print('set', flush=True)"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "set\n"
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "mine\n"
    assert process.poll() is None


def test_the_ctrl_c_of_a_forked_process_is_not_the_parents(start: Start) -> None:
    process = start(
        waiting="""
            import os
            reading, writing = os.pipe()
            if not (child := os.fork()):
                signal.signal(signal.SIGINT, lambda *_: os._exit(7))
                os.write(writing, b"forked")
                wait()
            os.read(reading, 6)
            os.kill(child, signal.SIGINT)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)"""
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "7\n"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "ending\n")


def test_a_second_sigterm_does_not_cut_the_end_short(start: Start) -> None:
    process = start(ending="sys.stdin.readline(); print('ended in order', flush=True)")
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate("\n", timeout=60)
    assert (process.returncode, output) == (128 + signal.SIGTERM, "ended in order\n")


def test_what_fails_while_a_run_ends_is_one_line_and_the_status_stays(start: Start) -> None:
    process = start(ending="raise RuntimeError('the actor is gone')")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "while ending the run: RuntimeError: the actor is gone" in errors


def test_a_signal_that_was_ignored_stays_ignored(start: Start) -> None:
    process = start(hangup="SIG_IGN")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_an_exit_of_the_commands_own_is_not_changed() -> None:
    from pipelines.terminal.interruption import interruptible

    def exits() -> int:
        raise SystemExit(2)

    assert interruptible(lambda: 7) == 7
    with pytest.raises(SystemExit, match="2"):
        interruptible(exits)
