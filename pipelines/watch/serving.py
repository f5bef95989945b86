"""Runs the live page's server until it is stopped."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from pipelines.watch.fleet import Fleet
from pipelines.watch.server import LOCAL, watch_app


def serve_until_stopped(folders: Sequence[Path], host: str, port: int, opens: bool) -> int:
    """Serve the page of the runs under `folders`, and return the exit status once a signal has ended it.

    Raises `click.UsageError` if the address cannot be bound.
    """
    import uvicorn

    listening = _bound(host, port)
    taken = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{taken}"
    if host not in LOCAL:
        click.echo(
            f"warning: {host} is public. The page asks for no password: whoever reaches it reads these runs' answers, "
            "problems and folders",
            err=True,
        )
    app = watch_app(Fleet(folders), host)
    click.echo(f"watching {', '.join(map(str, folders))}: {url}  (Ctrl-C stops it)")
    if opens:
        from pipelines.serving.browser import show

        show(url)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    with suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
        server.run(sockets=[listening])
    return 0


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise click.UsageError(
            f"--host {host} --port {port}: cannot be bound: {error.strerror}; choose another port with --port, 0 for a free one"
        ) from error
