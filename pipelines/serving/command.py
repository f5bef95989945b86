"""The command `relayllm serve`."""

from __future__ import annotations

import os
import signal
import sys
import threading

import click

from cluster.session import VERBOSE


@click.command()
@click.argument("target")
@click.argument("overrides", nargs=-1, metavar="[key.sub=value]...")
@click.option("--host", help="Address to bind, in place of http.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port, in place of http.port; 0 takes a free one.")
@click.option("--dry-run", is_flag=True, help="Check the target, print the server's settings, and stop.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser, if this machine has a display.")
@click.option(
    "--until-input-ends",
    is_flag=True,
    help="Also stop when standard input ends, as it does with the program that wrote to it.",
)
@click.option("-v", "--verbose", is_flag=True, help="Also show the logs of Ray, vLLM and the replicas.")
def serve(
    target: str,
    overrides: tuple[str, ...],
    host: str | None,
    port: int | None,
    dry_run: bool,
    opens: bool,
    until_input_ends: bool,
    verbose: bool,
) -> int:
    """Serve the student of a finished run, or the models of a server's file, with an OpenAI-compatible interface.

    \b
    relayllm serve runs/demo
    relayllm serve experiments/serve/demo.yaml student.replicas=2 --port 9000
    """
    from cluster.store.copies import folder_of
    from pipelines.experiment.file_kinds import SERVER, require_kind
    from pipelines.experiment.loading import resolved_yaml
    from pipelines.serving.target import server_settings

    given = [f"http.{key}={value}" for key, value in (("host", host), ("port", port)) if value is not None]
    place = folder_of(target, models=True)
    require_kind(place, SERVER)
    settings = server_settings(place, [*overrides, *given])
    if dry_run:
        click.echo(resolved_yaml(settings), nl=False)
        return 0
    if verbose:
        os.environ[VERBOSE] = "1"
    from pipelines.serving.browser import show
    from pipelines.serving.server import curl_example, serve_until_stopped
    from pipelines.terminal.logs import begin_logging

    begin_logging()
    if until_input_ends:
        threading.Thread(target=_stop_when_input_ends, daemon=True).start()

    def ready(url: str) -> None:
        click.echo(f"relay server {settings.name} is ready: {url}  (a page for the browser; Ctrl-C stops it)")
        click.echo(curl_example(settings, url))
        if opens:
            show(url)

    click.echo(f"starting Ray and the engines of {settings.name}")
    serve_until_stopped(settings, ready)
    return 0


def _stop_when_input_ends() -> None:
    while os.read(sys.stdin.fileno(), 4096):  # without a lock, so that the process can end while this waits
        pass
    os.kill(os.getpid(), signal.SIGTERM)
