"""The live table of a sweep in a terminal, and its plain lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.analysis.sweep_results import State, SweepTrial
from pipelines.sweep.plan import Sweep
from pipelines.sweep.results import shown
from pipelines.sweep.search import Kept
from pipelines.terminal.live import clock
from pipelines.wording import percent

_STYLES = {
    State.RUNNING: "bold",
    State.FINISHED: "green",
    State.PRUNED: "yellow",
    State.FAILED: "bold red",
    State.INTERRUPTED: "yellow",
}


class TrialTable:
    """A table of all trials, as a context manager. It is shown if stderr is a terminal; printed lines appear above it."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._ended: dict[int, SweepTrial] = {}
        self._live: Live | None = None
        if sys.stderr.isatty():
            console = Console(file=sys.stderr)
            self._live = Live(Table(), console=console, redirect_stdout=sys.stdout.isatty(), auto_refresh=False)

    def show(self, running_trials: Sequence[tuple[SweepTrial, str]], others: Sequence[Kept]) -> None:
        """Show the trials that run, each with its stage, and those that have ended."""
        if self._live is None:
            return
        under_way = {trial.number for trial, _ in running_trials}
        for number in under_way:  # a trial that ended before may have been begun again
            self._ended.pop(number, None)
        for trial in others:
            if trial.number not in under_way and trial.number not in self._ended:
                self._ended[trial.number] = shown(self._sweep, trial)
        rows = [(trial, "") for trial in self._ended.values()]
        self._live.update(table_of([*rows, *running_trials], list(self._sweep.searched)), refresh=True)

    def __enter__(self) -> TrialTable:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


def table_of(rows: Sequence[tuple[SweepTrial, str]], parameters: Sequence[str]) -> Table:
    """Return the table: running trials with their stage, ended ones with what they reached."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("trial", "state", *(key.rpartition(".")[2] for key in parameters)):
        table.add_column(title)
    for title in ("accuracy", "call ratio", "within budget", "time"):
        table.add_column(title, justify="right")
    best = max((one.objective.value for one, _ in rows if one.objective), default=None)
    for trial, stage in sorted(rows, key=lambda row: row[0].number):
        found = trial.objective
        numbers = [percent(found.accuracy), percent(found.call_ratio), f"{found.value:.4f}"] if found else ["–"] * 3
        state = f"{trial.state.value}{': ' + stage if stage else ''}"
        reached = found is not None and found.value == best
        table.add_row(
            str(trial.number),
            Text(state, style=_STYLES[trial.state]),
            *(f"{trial.values.get(key, '')}" for key in parameters),
            *numbers[:2],
            Text(numbers[2], style="bold green" if reached else ""),
            clock(trial.seconds),
        )
    return table


def say(line: str) -> None:
    """Print a line; in a terminal it appears above the table."""
    print(line, flush=True)
