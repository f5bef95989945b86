"""Tables as the page shows them: cells of text, and the rows of systems that every table has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipelines.analysis.bootstrap import AVERAGE, Estimate
from pipelines.analysis.claims import KindGroup
from pipelines.report.comparison.compared import Comparison
from pipelines.report.comparison.labels import label
from pipelines.report.comparison.wording import percent_bounds, points, points_bounds
from pipelines.report.kinds import breakable, kind_label
from pipelines.wording import percent


@dataclass(frozen=True, slots=True)
class Cell:
    """A number, with its interval or a remark in small type."""

    text: str
    small: str = ""
    rows: int = 1
    """rows that it spans"""
    columns: int = 1
    """columns that it spans"""
    absent: bool = False
    """the text says why there is no number"""


DASH = Cell("–")


@dataclass(frozen=True, slots=True)
class Column:
    """The heading of one column."""

    title: str
    small: str = ""
    starts_part: bool = False
    """begins a part of the table, such as the paper's numbers"""


@dataclass(frozen=True, slots=True)
class SystemRow:
    """One system."""

    label: str
    name: str
    """the row's key: what the study calls the system"""
    small: str
    """under the label"""
    cells: tuple[Cell, ...]
    """one for each column, except columns that another cell of this or an earlier row spans"""


@dataclass(frozen=True, slots=True)
class SystemTable:
    """A table with its heading."""

    key: str
    title: str
    caption: str
    parts: tuple[tuple[str, int], ...]
    """headings above the columns, and how many columns each spans"""
    columns: tuple[Column, ...]
    rows: tuple[SystemRow, ...]
    note: str = ""
    details: SystemTable | None = None
    """shown on demand"""


CellsOf = Callable[[str], tuple[Cell, ...]]


def share_cell(estimate: Estimate) -> Cell:
    return Cell(percent(estimate.value), percent_bounds(estimate))


def amount_cell(text: str, bounds: str, estimate: Estimate) -> Cell:
    """Return a cell, without the interval if nothing varies, such as the tokens of a teacher that was never asked."""
    return Cell(text, "" if estimate.low == estimate.value == estimate.high else bounds)


def call_ratio_cell(estimate: Estimate) -> Cell:
    return amount_cell(percent(estimate.value), percent_bounds(estimate), estimate)


def difference_cell(estimate: Estimate | None) -> Cell:
    """Return a paired difference in points."""
    return DASH if estimate is None else Cell(points(estimate.value), points_bounds(estimate))


def absent(reason: str, columns: int) -> tuple[Cell, ...]:
    """Return a dash and a reason in place of `columns` columns."""
    return (Cell(f"– {reason}", columns=columns, absent=True),)


def kind_columns(comparison: Comparison, group: KindGroup) -> tuple[Column, ...]:
    """Return a column for each kind of a group, and one for their average."""
    kinds = comparison.groups[group].kinds
    average = (Column("average", f"of {len(kinds)} kinds"),) if len(kinds) > 1 else ()
    return (*(Column(breakable(kind_label(kind)), "accuracy") for kind in kinds), *average)


def kind_cells(comparison: Comparison, name: str, group: KindGroup) -> tuple[Cell, ...]:
    """Return the cells under `kind_columns` for one system that was evaluated on the group."""
    kinds = comparison.groups[group].kinds
    scopes = (*kinds, AVERAGE) if len(kinds) > 1 else kinds
    summaries = comparison.groups[group].summaries[name]
    return tuple(share_cell(summaries[scope].accuracy) for scope in scopes)


def system_rows(
    comparison: Comparison,
    names: Sequence[str],
    group: KindGroup,
    columns: int,
    own: CellsOf,
    beside: Sequence[CellsOf],
) -> tuple[SystemRow, ...]:
    """Return a row for each name: its `own` cells, or across `columns` why there are none, and then the cells `beside`."""
    rows = []
    for name in names:
        reason = comparison.absence(name, group)
        cells = own(name) if reason is None else absent(reason, columns)
        rows.append(system_row(name, (*cells, *(cell for part in beside for cell in part(name)))))
    return tuple(rows)


def system_row(name: str, cells: tuple[Cell, ...]) -> SystemRow:
    return SystemRow(label(name), name, "" if name == label(name) else name, cells)


def spanning(cells: tuple[Cell, ...], rows: int) -> tuple[Cell, ...]:
    return tuple(replace(cell, rows=rows) for cell in cells)
