"""The live display of a run in a terminal: its stages, the progress of the present one, and the latest values."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


@dataclass(slots=True)
class Shown:
    """One progress bar of the display, and the values of its task."""

    label: str
    total: int | None
    done: float = 0.0
    left_s: float | None = None
    values: dict[str, str] = field(default_factory=dict)


class Display:
    """What is on the screen: the stages, a bar for each open progress, and the latest values."""

    def __init__(self, title: str = "", stages: Sequence[tuple[str, Callable[[], bool]]] = ()) -> None:
        """`stages` are names, each with a function that says whether the stage is done."""
        self._title, self._stages = title, stages
        self._started = time.monotonic()
        self.open: list[Shown] = []
        self.tokens_per_s: float | None = None

    def __rich__(self) -> Group:
        lines: list[Table | Text] = []
        if self._stages:
            lines.append(self._stage_line())
        lines += [_progress(shown) for shown in self.open]
        values = {name: value for shown in self.open for name, value in shown.values.items()}
        facts = [f"{name} {value}" for name, value in values.items()]
        if self.tokens_per_s is not None:
            facts.append(f"{self.tokens_per_s:,.0f} tokens/s")
        facts.append(f"{clock(time.monotonic() - self._started)} since the start")
        lines.append(Text("  ".join(facts), style="cyan"))
        return Group(*lines)

    def _stage_line(self) -> Text:
        line = Text(f"{self._title}  ", style="bold")
        present = True
        for name, is_done in self._stages:
            if is_done():
                line.append(f"✓ {name}  ", style="not bold green")
            elif present:
                line.append(f"▸ {name}  ", style="bold")
                present = False
            else:
                line.append(f"· {name}  ", style="not bold dim")
        return line


class _Current:
    """The display of this process, if one is on."""

    display: Display | None = None


def current() -> Display | None:
    return _Current.display


@contextmanager
def live(display: Display, stream: TextIO | None = None) -> Iterator[Display]:
    """Show a display during the block, if `stream` (by default stderr) is a terminal and no display is on yet.

    Printed lines appear above it.
    """
    stream = sys.stderr if stream is None else stream
    if _Current.display is not None or not stream.isatty():
        yield display
        return
    console = Console(file=stream)
    screen = Live(display, console=console, transient=True, redirect_stdout=sys.stdout.isatty(), refresh_per_second=4)
    with screen:
        _Current.display = display
        try:
            yield display
        finally:
            _Current.display = None


def clock(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds: 3725 as `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _progress(shown: Shown) -> Table:
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    count = f"{int(shown.done)}" + ("" if shown.total is None else f"/{shown.total}")
    left = "" if shown.left_s is None else f"  {clock(shown.left_s)} left"
    bar = ProgressBar(total=shown.total, completed=shown.done, pulse=shown.total is None)
    row.add_row(Text(shown.label, style="bold"), bar, f"{count}{left}")
    return row
