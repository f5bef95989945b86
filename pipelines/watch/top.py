"""Shows the state of all runs as a table in the terminal, which updates itself."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.terminal.live import clock
from pipelines.watch.fleet import Fleet
from pipelines.watch.state import FleetState, RunState, ShownNumber
from pipelines.wording import counted, percent

_BARS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 12
_BAR_WIDTH = 10
_STYLES = {
    "running": "green",
    "elsewhere": "cyan",
    "finished": "",
    "stopped": "bold red",
    "new": "dim",
    "broken": "bold red",
}
_WIDE = 110
"""columns of a terminal that has room for sparklines and speed"""
_PRINTED = 200
"""columns of a table that is printed once"""
_MOST_ALARMS = 6


def show(folders: Sequence[Path], every_s: float) -> None:
    """Show the table until q or Ctrl-C; if the output is no terminal, print it once."""
    fleet = Fleet(folders)
    console = Console()
    if not console.is_terminal:
        while (state := fleet.refresh()).behind_bytes:
            pass
        Console(width=_PRINTED).print(_view(state, _PRINTED, time.time()))
        return
    with suppress(KeyboardInterrupt), _single_keys():
        first = _view(fleet.refresh(), console.width, time.time(), console.height)
        with Live(first, console=console, screen=True, auto_refresh=False) as live:
            while not _quits(every_s):
                live.update(_view(fleet.refresh(), console.width, time.time(), console.height), refresh=True)


def _view(state: FleetState, width: int, now: float, height: int | None = None) -> Group:
    """Return the table and what is to be said below it. With a `height`, only as many runs as there are lines for."""
    wide = width >= _WIDE
    table = Table(box=None, expand=False, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True, overflow="ellipsis", max_width=40 if wide else 20)
    table.add_column("state", no_wrap=True)
    table.add_column("progress", no_wrap=True)
    for name in (
        "accuracy",
        "call ratio",
        "cut off",
        "failed",
        *(["tokens/s", "time left", "written"] if wide else []),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    most = len(state.runs) if height is None else max(height - 8 - _MOST_ALARMS, 3)
    for run in state.runs[:most]:
        table.add_row(*_row(run, wide, now))
    lines: list[Table | Text] = [table] if state.runs else [Text(_safe(f"no run below {', '.join(state.folders)}"))]
    if len(state.runs) > most:
        lines.append(Text(f"… and {len(state.runs) - most} further runs", style="dim"))
    lines += _remarks(state)
    lives = [run.life for run in state.runs]
    said = [f"{lives.count(life)} {life}" for life in dict.fromkeys(lives)]
    end = "  q quits" if height is not None else ""
    lines.append(Text(f"{counted(len(lives), 'run')}: {', '.join(said) or 'none'}{end}", style="dim"))
    return Group(*lines)


def _remarks(state: FleetState) -> Iterator[Text]:
    found = [
        (f"alarm {alarm.name}", run, f"{alarm.number} ({alarm.where})") for run in state.runs for alarm in run.alarms
    ]
    found += [(run.life, run, run.said) for run in state.runs if run.life in ("broken", "stopped")]
    for what, run, text in found[:_MOST_ALARMS]:
        yield Text.assemble((what, "bold red"), f" {_safe(run.label)}: {_safe(text)}")
    if len(found) > _MOST_ALARMS:
        yield Text(f"… and {len(found) - _MOST_ALARMS} more to look at", style="red")
    for remark in state.remarks:
        yield Text(_safe(remark), style="yellow")
    if state.behind_bytes:
        yield Text(f"still reading: {state.behind_bytes / 1e6:,.1f} MB are left", style="yellow")


def _row(run: RunState, wide: bool, now: float) -> list[Text]:
    numbers = {number.name: number for number in run.numbers}
    state = Text(run.life, style=_STYLES[run.life])
    if run.alarms:
        state.append(f" {counted(len(run.alarms), 'alarm')}", style="bold red")
    shown = ["accuracy", "call_ratio", "cut_off", "failed_calls", *(["speed"] if wide else [])]
    return [
        Text(_safe(run.label), style="bold"),
        state,
        _progress(run, wide),
        *(_number(numbers[name], wide and name in ("accuracy", "call_ratio")) for name in shown),
        *(_times(run, now) if wide else []),
    ]


def _times(run: RunState, now: float) -> list[Text]:
    written = "–" if run.written_at is None else f"{_ago(now - run.written_at)} ago"
    return [Text("" if run.left_s is None else clock(run.left_s)), Text(written)]


def _progress(run: RunState, wide: bool) -> Text:
    present = next((stage.name for stage in run.stages if stage.present), "")
    text = Text()
    if run.progress is not None and run.life != "finished":
        full = round(_BAR_WIDTH * run.progress)
        if wide:
            text.append("━" * full, style="green").append("━" * (_BAR_WIDTH - full) + " ", style="dim")
        text.append(f"{run.step}/{run.steps} ")
    elif run.step:
        text.append(f"step {run.step} ")
    return text.append(present, style="cyan")


def _number(number: ShownNumber, sparks: bool) -> Text:
    if number.value is None:
        return Text("–", style="dim")
    value = percent(number.value) if number.unit == "share" else f"{number.value:,.0f}"
    text = Text(style="bold red" if number.bad else "")
    if sparks and number.spark:
        text.append(_spark(number.spark) + " ", style="blue")
    return text.append(value)


def _spark(values: Sequence[float]) -> str:
    """Return the course of a share as bars, from 0 to the largest value."""
    size = max(-(-len(values) // _SPARK_WIDTH), 1)
    parts = [max(values[i : i + size]) for i in range(0, len(values), size)]
    top = max([*parts, 1e-9])
    return "".join(_BARS[min(int(max(part, 0.0) / top * len(_BARS)), len(_BARS) - 1)] for part in parts)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(int(seconds), 0)} s"


def _safe(text: str) -> str:
    """Return text of a file without control characters, which could command the terminal."""
    return "".join(one if one.isprintable() or one == "\u00a0" else "?" for one in text)


@contextmanager
def _single_keys() -> Iterator[None]:
    """Let keys arrive without Enter, if the input is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quits(wait_s: float) -> bool:
    """Wait, and return whether q was pressed meanwhile."""
    until = time.monotonic() + wait_s
    while (left := until - time.monotonic()) > 0:
        if not sys.stdin.isatty():
            time.sleep(left)
        elif select.select([sys.stdin], [], [], left)[0] and b"q" in os.read(sys.stdin.fileno(), 64).lower():
            return True
    return False
