"""The common code of all benchmarks: paired runs in alternating order, medians and ratios, a table, and the results file.

A benchmark makes rows with `paired` (contestants against each other) or with `Row` (a single figure), and ends with
`report`. Its `main()` parses options with `arguments`. It should take less than two minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

from benchmarks.machine import commit, this_machine, versions

RUNS = 5
"""default number of rounds of a comparison"""
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a row's median value, or on its ratio to the baseline."""

    of: Literal["value", "ratio"]
    sign: Literal["<=", ">="]
    bound: float

    def __str__(self) -> str:
        return f"{self.of} {self.sign} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, with one measurement in each round."""

    name: str
    unit: str
    values: Sequence[float]
    """one for each round"""
    ratios: Sequence[float] = ()
    """for each round, value / the baseline's value; empty without a baseline, and for the baseline itself"""
    baseline: str = ""
    goal: Goal | None = None

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios; None without ratios."""
        return median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        figure = self.median if self.goal.of == "value" else self.ratio
        assert figure is not None, f"{self.name} has a goal for its ratio, but no baseline"
        return figure <= self.goal.bound if self.goal.sign == "<=" else figure >= self.goal.bound


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark: `--quick` and `--results`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that it works; nothing is saved")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for this machine's results file")
    return parser


def timed(action: Callable[[], object]) -> Callable[[], float]:
    """Return a contestant that runs `action` and returns the seconds that it took."""

    def run() -> float:
        started = time.perf_counter()
        action()
        return time.perf_counter() - started

    return run


def paired(
    contestants: Mapping[str, Callable[[], float]],
    unit: str = "s",
    runs: int = RUNS,
    warmups: int = 1,
    goals: Mapping[str, Goal] | None = None,
) -> list[Row]:
    """Run all contestants in each of `runs` rounds, in alternating order; return one row for each contestant.

    A contestant is called without arguments and returns its value in `unit`. The first one is the baseline. Ratios compare
    values of the same round, so that a temporary slowdown of the machine affects both. `warmups` rounds come first and do
    not count. Raises `ValueError` for fewer than two contestants.
    """
    if len(contestants) < 2:
        raise ValueError(f"a comparison needs at least two contestants, not {list(contestants)}")
    values: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(-warmups, runs):
        names = list(contestants)[:: 1 if turn % 2 == 0 else -1]
        for name in names:
            value = contestants[name]()
            if turn >= 0:
                values[name].append(value)
    baseline, *others = contestants
    rows = [Row(baseline, unit, values[baseline])]
    for name in others:
        ratios = [value / base for value, base in zip(values[name], values[baseline], strict=True)]
        rows.append(Row(name, unit, values[name], ratios, baseline))
    return [replace(row, goal=(goals or {}).get(row.name)) for row in rows]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| | median | lowest – highest | runs | ratio | goal |", "|---|---|---|---|---|---|"]
    for row in rows:
        spread = f"{min(row.values):.4g} – {max(row.values):.4g}" if len(row.values) > 1 else ""
        ratio = "" if row.ratio is None else f"{row.ratio:.3g} × {row.baseline}"
        goal = "" if row.goal is None else f"{row.goal}: {'met' if row.met else 'not met'}"
        lines.append(f"| {row.name} | {row.median:.4g} {row.unit} | {spread} | {len(row.values)} | {ratio} | {goal} |")
    return "\n".join(lines)


def report(benchmark: str, rows: Sequence[Row], options: argparse.Namespace, notes: Sequence[str] = ()) -> None:
    """Print the table of `benchmark`. Unless `--quick`, also store it in `<results>/<machine>.json`.

    `notes` state the conditions of the measurement: sizes, settings, and stand-ins.
    """
    print(f"{benchmark}\n\n{table(rows)}\n" + "".join(f"\n* {note}" for note in notes), flush=True)
    if options.quick:
        return
    machine = this_machine()
    path: Path = options.results / f"{machine.name}.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"benchmarks": {}}
    stored["machine"] = asdict(machine)
    stored["benchmarks"][benchmark] = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "versions": versions(),
        "notes": list(notes),
        "rows": [asdict(row) for row in rows],
    }
    stored["benchmarks"] = dict(sorted(stored["benchmarks"].items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def row_from(stored: Mapping[str, Any]) -> Row:
    """Return the row that `report` stored as `stored`."""
    goal = stored["goal"]
    return Row(**{**stored, "goal": Goal(**goal) if goal else None})
