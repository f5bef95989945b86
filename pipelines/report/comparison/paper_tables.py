"""Tables like the paper's tables 1 to 5 and figure 3, each with the paper's own numbers beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipelines.analysis import paper, systems
from pipelines.analysis.bootstrap import AVERAGE
from pipelines.analysis.claims import KindGroup
from pipelines.analysis.paper import PaperResult, Student
from pipelines.report.comparison.compared import Comparison
from pipelines.report.comparison.labels import CITER, label, ordered
from pipelines.report.comparison.tables import (
    DASH,
    Cell,
    CellsOf,
    Column,
    SystemRow,
    SystemTable,
    call_ratio_cell,
    difference_cell,
    kind_cells,
    kind_columns,
    share_cell,
    spanning,
    system_rows,
)
from pipelines.report.kinds import breakable, kind_label

_THIS = "this study"
_OWN_MAIN = (systems.BASE, systems.GRPO, systems.GRPO_FILTERED)
_OWN_ABLATIONS = (systems.NO_WARMUP, systems.UNMASKED, systems.RANDOM_PLACEMENT)
_TABLE_4 = {
    systems.GRPO: (systems.GRPO, True),
    systems.RELAY_SIMPLE: (systems.RELAY_SIMPLE, False),
    systems.RELAY_SIMPLE_TEACHER_FREE: (systems.RELAY_SIMPLE, True),
    systems.RELAY: (systems.RELAY, False),
    systems.RELAY_TEACHER_FREE: (systems.RELAY, True),
}
"""each row's system, and whether it has no teacher, as in the paper's table"""


@dataclass(frozen=True, slots=True)
class PaperColumns:
    """The paper's columns beside this study's numbers."""

    student: Student
    columns: tuple[Column, ...]
    cells: CellsOf


def paper_tables(comparison: Comparison) -> tuple[SystemTable, ...]:
    """Return all tables that correspond to one in the paper, in its order."""
    return (
        _table_1(comparison),
        _table_2(comparison),
        _table_3(comparison),
        _table_4(comparison),
        _table_5(comparison),
        _figure_3(comparison),
    )


def _table_1(comparison: Comparison) -> SystemTable:
    names = (*_OWN_MAIN, *_citer(comparison), systems.RELAY_SIMPLE, systems.RELAY, systems.TEACHER)
    return _accuracies(
        comparison,
        "table-1",
        "Table 1: the main systems",
        "Accuracy on each kind of problem that students are trained for, and the share of output tokens that the "
        "teacher wrote, averaged over the kinds.",
        names,
        KindGroup.MAIN,
        [_averages(comparison, paper.TABLE_1, student) for student in (paper.LARGE, paper.SMALL)],
        by_benchmark=True,
    )


def _table_2(comparison: Comparison) -> SystemTable:
    names = (*_OWN_MAIN, *_citer(comparison), systems.RELAY_SIMPLE, systems.RELAY, systems.TEACHER)
    return _accuracies(
        comparison,
        "table-2",
        "Table 2: domains that were not trained on",
        "The same systems on kinds of problem that no student was trained for.",
        names,
        KindGroup.UNSEEN,
        [_unseen(comparison, student) for student in (paper.LARGE, paper.SMALL)],
        none="Left out: the study names no unseen kind of problem, or no system was evaluated on one.",
    )


def _table_3(comparison: Comparison) -> SystemTable:
    names = (systems.RELAY, systems.NO_FILTER, systems.NO_BONUS, systems.NO_EXPLORATION, *_OWN_ABLATIONS)
    return _accuracies(
        comparison,
        "table-3",
        "Table 3: ablations",
        "The relay student with one part of its training taken away. The last three are this project's own.",
        names,
        KindGroup.MAIN,
        [_averages(comparison, paper.TABLE_3, paper.LARGE)],
    )


def _table_4(comparison: Comparison) -> SystemTable:
    columns = []
    for group in (KindGroup.EASY, KindGroup.HARD):
        kinds = ", ".join(breakable(kind_label(kind)) for kind in comparison.groups[group].kinds)
        columns.append(Column(group, kinds or "no such kind"))

    def own(name: str) -> tuple[Cell, ...]:
        found = [comparison.groups[group].summaries.get(name) for group in (KindGroup.EASY, KindGroup.HARD)]
        return tuple(DASH if summary is None else share_cell(summary[AVERAGE].accuracy) for summary in found)

    def printed(name: str) -> tuple[Cell, ...]:
        row = next(row for row in paper.TABLE_4 if (row.system, row.teacher_free) == _TABLE_4[name])
        return Cell(f"{row.easy:.2f}"), Cell(f"{row.hard:.2f}")

    of_paper = (Column("easy", "four benchmarks", starts_part=True), Column("hard", "both AIMEs"))
    hard = comparison.groups[KindGroup.HARD].kinds
    return SystemTable(
        "table-4",
        "Table 4: what is left without the teacher",
        "Average accuracy on easy and on hard kinds, with the teacher and with calls forbidden in decoding.",
        ((_THIS, 2), (f"paper, {paper.LARGE}", 2)),
        (*columns, *of_paper),
        system_rows(comparison, tuple(_TABLE_4), KindGroup.MAIN, 2, own, [printed]),
        "" if hard else "The study names no hard kind of problem, so that there are no easy ones either.",
    )


def _table_5(comparison: Comparison) -> SystemTable:
    names = (systems.FIXED_SHORT, systems.FIXED_MEDIUM, systems.FIXED_LONG, systems.RELAY)
    return _accuracies(
        comparison,
        "table-5",
        "Table 5: fixed lengths of calls against learned ones",
        "Students trained with calls of one length, and the relay student, which chooses it. In the paper, short, "
        "medium and long are 20, 100 and 500 tokens.",
        names,
        KindGroup.MAIN,
        [_averages(comparison, paper.TABLE_5, paper.LARGE)],
    )


def _figure_3(comparison: Comparison) -> SystemTable:
    names = {*comparison.results.systems, *comparison.results.missing}
    others = ordered(name for name in names if systems.is_relay_with_another_teacher(name)) or (
        systems.relay_with("another"),
    )

    def printed(name: str) -> tuple[Cell, ...]:
        teachers = {systems.RELAY_TEACHER_FREE: None, systems.RELAY: paper.TEACHER_MODEL}
        return (Cell(f"{paper.FIGURE_3[teachers[name]]:.2f}"),) if name in teachers else (DASH,)

    return _accuracies(
        comparison,
        "figure-3",
        "Figure 3: other teachers than that of training",
        "The same relay student with other teachers at evaluation, with its own, and with none. The paper's figure "
        "prints two of its numbers.",
        (systems.RELAY_TEACHER_FREE, *others, systems.RELAY),
        KindGroup.MAIN,
        [PaperColumns(paper.LARGE, (Column("accuracy"),), printed)],
    )


def _accuracies(
    comparison: Comparison,
    key: str,
    title: str,
    caption: str,
    names: Sequence[str],
    group: KindGroup,
    beside: Sequence[PaperColumns],
    none: str = "Left out: no system was evaluated.",
    by_benchmark: bool = False,
) -> SystemTable:
    """Return a table of accuracy by kind and on average, difference to relay, and call ratio, beside the paper's numbers."""
    results = comparison.groups[group]
    if not results.kinds:
        return SystemTable(key, title, caption, (), (), (), none)
    columns = (*kind_columns(comparison, group), Column("less relay", "points"), Column("call ratio"))

    def own(name: str) -> tuple[Cell, ...]:
        difference = None if name == systems.RELAY else results.against(name, systems.RELAY)
        ratio = call_ratio_cell(results.summaries[name][AVERAGE].call_ratio)
        return (*kind_cells(comparison, name, group), difference_cell(difference), ratio)

    others = [replace(one, starts_part=i == 0) for part in beside for i, one in enumerate(part.columns)]
    return SystemTable(
        key,
        title,
        caption,
        ((_THIS, len(columns)), *((f"paper, {part.student}", len(part.columns)) for part in beside)),
        (*columns, *others),
        system_rows(comparison, names, group, len(columns), own, [part.cells for part in beside]),
        details=_benchmarks() if by_benchmark else None,
    )


def _averages(comparison: Comparison, table: tuple[PaperResult, ...], student: Student) -> PaperColumns:
    """Return columns with the paper's average accuracy and call ratio."""

    def cells(row: PaperResult) -> tuple[Cell, ...]:
        return _printed(row.average), _printed(row.call_ratio)

    return PaperColumns(student, (Column("average"), Column("call ratio")), _rows_of(comparison, table, student, cells))


def _unseen(comparison: Comparison, student: Student) -> PaperColumns:
    """Return columns with the paper's accuracy on each unseen benchmark."""

    def cells(row: PaperResult) -> tuple[Cell, ...]:
        return tuple(_printed(row.by_benchmark.get(name)) for name in paper.UNSEEN)

    columns = tuple(Column(name) for name in paper.UNSEEN)
    return PaperColumns(student, columns, _rows_of(comparison, paper.TABLE_2, student, cells))


def _rows_of(
    comparison: Comparison,
    table: tuple[PaperResult, ...],
    student: Student,
    cells: Callable[[PaperResult], tuple[Cell, ...]],
) -> CellsOf:
    """Return the cells of the paper's row of a system. The paper has one CITER row, without a threshold, for all of ours."""
    citer = _citer(comparison)
    blank = PaperResult(student, "")

    def of(name: str) -> tuple[Cell, ...]:
        if name in citer[1:]:
            return ()
        system = paper.CITER if name in citer else name
        whose = None if name == systems.TEACHER else student
        found = cells(next((row for row in table if (row.student, row.system) == (whose, system)), blank))
        return spanning(found, len(citer)) if name in citer else found

    return of


def _benchmarks() -> SystemTable:
    """Return the paper's table 1 in full."""
    benchmarks = (*paper.EASY, *paper.HARD)
    rows = tuple(
        SystemRow(
            CITER if row.system == paper.CITER else label(row.system),
            f"paper-{row.student}-{row.system}",
            row.student or paper.TEACHER_MODEL,
            (
                *(_printed(row.by_benchmark[name]) for name in benchmarks),
                _printed(row.average),
                _printed(row.call_ratio),
            ),
        )
        for row in paper.TABLE_1
    )
    columns = tuple(Column(name) for name in (*benchmarks, "average", "call ratio"))
    return SystemTable("paper-table-1", "The paper's table 1, by benchmark", "", (), columns, rows)


def _printed(number: float | None) -> Cell:
    return DASH if number is None else Cell(f"{number:.2f}")


def _citer(comparison: Comparison) -> tuple[str, ...]:
    """Return CITER's name at every threshold of the study, missing ones included; without any, the plain name."""
    names = {*comparison.results.systems, *comparison.results.missing}
    return ordered(name for name in names if systems.is_citer(name)) or (paper.CITER,)
