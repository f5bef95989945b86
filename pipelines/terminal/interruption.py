"""Handles Ctrl-C and other signals. The run ends in order and says how to go on; a second Ctrl-C ends it at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from cluster.session import SIGNALS

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the end of the terminal (SIGHUP)"}

_NO_MORE = b"\0"


class _State:
    """The signal that stops this process, and what to call before it ends at once."""

    first: int | None = None
    ends: list[Callable[[], None]] = []
    ending = threading.Lock()
    """held by the thread that ends the process at once"""
    counted = False
    """whether a thread counts the signals"""


def interruptible(command: Callable[[], int]) -> int:
    """Run `command` and return its exit status; if a signal ends it, say how to go on and return 128 + its number.

    The first signal raises `KeyboardInterrupt` in the main thread, whatever its number, because that is the exception
    which Ray lets through. A second Ctrl-C ends the process at once; another SIGTERM or SIGHUP changes nothing. A signal
    that was ignored before, as under nohup, stays ignored.
    """
    _State.first = None
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, _stop)
    try:
        with _each_signal_counted():
            return command()
    except BaseException as error:
        ended_by = _State.first or _number_of(error)
        if ended_by is None:
            raise
        if isinstance(error, Exception) and type(error).__name__ != "Abort":  # click raises it for KeyboardInterrupt
            _say(f"while ending the run: {type(error).__name__}: {error}")
        _say(f"stopped by {_NAMES[signal.Signals(ended_by)]}; what is finished is kept. To go on: {_same_command()}")
        return 128 + ended_by
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def asked_to_stop() -> bool:
    """Return whether a signal has asked the command of `interruptible` to stop."""
    return _State.first is not None


@contextmanager
def ended_at_once(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` before a second Ctrl-C ends this process in the block. So it can end processes that it has started."""
    _State.ends.append(end)
    try:
        yield
    finally:
        _State.ends.remove(end)


@contextmanager
def _each_signal_counted() -> Iterator[None]:
    """Let a thread count the signals of the block, and end the process at a second Ctrl-C.

    Python calls a handler only when the main thread is in Python. While that thread is in Ray or torch, two signals count
    as one, and no second one ends anything. But each signal is written into a pipe at once, and a thread reads that.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    counter = threading.Thread(target=_count, args=(reading,), name="signals", daemon=True)
    counter.start()
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _State.counted = True
    try:
        yield
    finally:
        _State.counted = False
        signal.set_wakeup_fd(before)
        os.write(writing, _NO_MORE)
        counter.join()
        os.close(writing)
        os.close(reading)


def _count(reading: int) -> None:
    """End the process at a second Ctrl-C. Signals that a command handles itself, as a chat does, do not count."""
    first = None
    while (read := os.read(reading, 1)) != _NO_MORE:
        number = read[0]
        if signal.getsignal(number) is not _stop:
            continue
        if first is not None and number == signal.SIGINT:
            _end_at_once(first)
        first = first or number


def _leave_to_parent() -> None:
    """Keep the signals of a forked process out of the pipe, which it shares with its parent."""
    if _State.counted:
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_leave_to_parent)


def _stop(number: int, frame: FrameType | None) -> None:
    if _State.first is None:
        _State.first = number
        _say(f"\n{_NAMES[signal.Signals(number)]}: ending in order; Ctrl-C again ends it at once")
        raise KeyboardInterrupt
    if number == signal.SIGINT:
        _end_at_once(_State.first)


def _end_at_once(first: int) -> None:
    """End the process with the status of the `first` signal. Does nothing if another thread is at it."""
    if _State.ending.acquire(blocking=False):
        for end in list(_State.ends):
            with suppress(Exception):
                end()
        os._exit(128 + first)


def _number_of(error: BaseException) -> int | None:
    """Return the signal that caused an exception, if this module's handler did not see the signal; else None."""
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    # While Ray starts, its own handler is in force. It exits with the signal's number.
    return signal.SIGTERM if isinstance(error, SystemExit) and error.code == signal.SIGTERM else None


def _say(line: str) -> None:
    with suppress(OSError):  # a terminal that is gone
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{line}\n".encode(errors="replace"))


def _same_command() -> str:
    program = Path(sys.argv[0])
    name = f"python -m {program.parent.name}" if program.name == "__main__.py" else program.name
    return shlex.join([*name.split(), *sys.argv[1:]])
