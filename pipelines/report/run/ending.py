"""The end of a run on the screen: its results as a table, the verdict, the report's path, and what to try next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as TextTable
from rich.text import Text

from pipelines.analysis.run_verdict import verdict_on
from pipelines.experiment.alarms import open_alarms
from pipelines.report.run.reading import RunRecords, read_run
from pipelines.report.run.summary import HeadlineTable, ResultCell, headline_table
from pipelines.wording import percent

_TONES = {"good": "bold green", "mixed": "bold yellow", "bad": "bold red", "open": "bold"}
_LOG_WIDTH = 140
_ALARMS = Path(__file__).parents[3] / "docs/troubleshooting.md"


def show_ending(
    report: Path,
    experiment: Path,
    overrides: Sequence[str] = (),
    console: Console | None = None,
    url: str | None = None,
) -> None:
    """Print what the run beside `report` reached. It was started from the file `experiment` and its `overrides`.

    `url` is where the run is kept, if not in the folder of the report.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console = Console(file=console.file, width=_LOG_WIDTH, highlight=False)
    run = read_run(report.parent)
    found = verdict_on(run.evaluations, run.alarms, warmed_up=run.warmed_up)
    console.print()
    if run.evaluations:
        console.print(results(headline_table(run)))
        console.print()
    console.print(Text(found.headline, style=_TONES[found.tone]))
    for detail in found.details:
        console.print(Text(detail))
    console.print()
    # No wrapping: a path or command that is broken over two lines cannot be copied.
    console.print(Text(f"report: {report}"), soft_wrap=True)
    console.print(Text("next:"), style="dim")
    for command, meaning in next_commands(run, experiment, overrides, bool(open_alarms(run.alarms)), url):
        console.print(Text.assemble("  ", (command, "bold"), f"  # {meaning}"), soft_wrap=True)


def results(table: HeadlineTable) -> TextTable:
    """Return the report's table as text: accuracy, followed by the call ratio if there are calls."""
    text = TextTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left", header_style="bold")
    text.add_column("accuracy (call ratio)", overflow="fold")
    for column in table.columns:
        text.add_column(column, justify="right")
    for row in table.rows:
        text.add_row(row.label, *(_cell(cell) for cell in row.cells))
    return text


def next_commands(
    run: RunRecords, experiment: Path, overrides: Sequence[str], alarmed: bool, url: str | None = None
) -> list[tuple[str, str]]:
    """Return commands to try next, each with its purpose."""
    place = url or _short(run.directory)
    kept = [override for override in overrides if override.partition("=")[0].strip() not in ("seed", "name", "run_dir")]
    seed = int(run.seed) + 1 if run.seed is not None and run.seed.isdecimal() else 1
    changed = [f"seed={seed}", f"name={run.name}-{seed}"]
    if (
        url or run.directory.resolve().name != run.name
    ):  # the file or an override chose the folder, which belongs to this run
        changed.append(f"run_dir={place}-{seed}")
    same = shlex.join(["relayllm", "run", str(experiment), *kept, *changed])
    return [
        *(
            [(f"less {shlex.quote(_short(_ALARMS))}", "what the alarms mean, and what to do")]
            if alarmed and _ALARMS.exists()
            else []
        ),
        (same, "the same with another seed: does it hold?"),
        (f"relayllm report {shlex.quote(place)}", "the report anew"),
    ]


def _cell(cell: ResultCell | None) -> str:
    if cell is None:
        return "–"
    return percent(cell.accuracy) + ("" if cell.call_ratio is None else f" ({percent(cell.call_ratio)})")


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
