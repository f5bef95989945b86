"""The command `relayllm chat`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import click

from pipelines.client import options


@click.command()
@options.target
@options.key_variable
def chat(target: str, api_key_env: str) -> int:
    """Talk to a relay student in the terminal.

    TARGET is the URL of a server, a run's folder or a server's YAML file. Without a server there, one is started and ended with
    the chat. Lines can be piped in, too.

    \b
    relayllm chat http://127.0.0.1:8000
    relayllm chat runs/demo
    """
    from pipelines.chat.loop import Chat
    from pipelines.chat.screen import Screen
    from pipelines.chat.session import Session
    from pipelines.client.connection import Connection
    from pipelines.client.server import server_for

    key = options.api_key(api_key_env)
    with server_for(target, key) as address, Connection(address, key) as connection:
        session = Session(connection.models())
        screen = Screen(os.environ)
        relay = session.models["relay"]
        is_asked = sys.stdin.isatty()
        if is_asked:
            screen.line(f"{relay.id} at {address}, policy version {relay.relay.policy_version}", "bold")
            screen.line(f"What the teacher writes is {screen.legend}. /help shows the commands.", "dim")
            if relay.relay.memory == "question":
                screen.line("It answers each question for itself, and does not see the earlier ones.", "dim")
            for example in relay.relay.examples[:3]:
                screen.line(f"for example: {example}", "dim")
        with _own_signals():
            went_well = Chat(connection, session, screen, _reader(is_asked)).run()
    return 0 if went_well or is_asked else 1


def _reader(is_asked: bool) -> Callable[[], str]:
    """Return what reads the next line: with a prompt and a history that the arrow keys go through, or from a pipe."""
    if not is_asked:
        return _next_line
    with suppress(ImportError):
        import readline  # noqa: F401  `input` uses it once it is loaded
    return lambda: input("> ")


def _next_line() -> str:
    if line := sys.stdin.readline():
        return line
    raise EOFError


@contextmanager
def _own_signals() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt each time, since it stops an answer and not the command. Other signals end it."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _leave, signal.SIGHUP: _leave}
    heard = {number: handler for number, handler in handlers.items() if signal.getsignal(number) is not signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in heard.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
