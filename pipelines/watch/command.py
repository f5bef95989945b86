"""The commands `relayllm watch` and `relayllm top`."""

from __future__ import annotations

from pathlib import Path

import click

_folders = click.argument("folders", nargs=-1, metavar="[FOLDER]...", type=click.Path(path_type=Path))
_DEFAULT = Path("runs")


@click.command()
@_folders
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to bind; others than this machine's are public."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8100, show_default=True, help="0 takes a free one.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser, if this machine has a display.")
def watch(folders: tuple[Path, ...], host: str, port: int, opens: bool) -> int:
    """Show runs on a live page for the browser. It only reads: a run is never changed or slowed.

    FOLDERs are run directories, or folders with run directories below them; by default runs. They may lie on a disk that
    other machines write to.

    \b
    relayllm watch
    relayllm watch /shared/runs --port 9000
    """
    from pipelines.watch.serving import serve_until_stopped

    return serve_until_stopped(_given(folders), host, port, opens)


@click.command()
@_folders
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.2),
    default=2.0,
    show_default=True,
    help="Seconds between two readings.",
)
def top(folders: tuple[Path, ...], every_s: float) -> int:
    """Show runs in the terminal: the same as relayllm watch, as a table that updates itself. q or Ctrl-C ends it.

    If the output is no terminal, the table is printed once.

    \b
    relayllm top
    relayllm top /shared/runs | cat
    """
    from pipelines.watch.top import show

    show(_given(folders), every_s)
    return 0


def _given(folders: tuple[Path, ...]) -> list[Path]:
    """Return the folders to look in. Raises `click.UsageError` if one of them is none."""
    if not folders and not _DEFAULT.is_dir():
        raise click.UsageError(f"there is no folder {_DEFAULT} here; name the folder that your runs are in")
    for folder in folders:
        if not folder.is_dir():
            raise click.UsageError(f"{folder} is no folder; name a run directory, or a folder with run directories")
    return list(folders) or [_DEFAULT]
