"""Handles Ctrl-C and other signals. The run ends in order and says how to go on; a second Ctrl-C ends it at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from cluster.session import SIGNALS

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the end of the terminal (SIGHUP)"}


class _State:
    """The signal that stops this process, and what to call before it ends at once."""

    first: int | None = None
    ends: list[Callable[[], None]] = []


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


@contextmanager
def ended_at_once(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` before a second Ctrl-C ends this process in the block. So it can end processes that it has started."""
    _State.ends.append(end)
    try:
        yield
    finally:
        _State.ends.remove(end)


def _stop(number: int, frame: FrameType | None) -> None:
    if _State.first is None:
        _State.first = number
        _say(f"\n{_NAMES[signal.Signals(number)]}: ending the run in order; Ctrl-C again ends it at once")
        raise KeyboardInterrupt
    if number == signal.SIGINT:
        for end in list(_State.ends):
            with suppress(Exception):
                end()
        os._exit(128 + _State.first)


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
