"""How much several answers to one problem help: pass@k, if problems were answered more than once."""

from __future__ import annotations

from pipelines.analysis.bootstrap import AVERAGE
from pipelines.analysis.claims import KindGroup
from pipelines.report.comparison.compared import Comparison
from pipelines.report.comparison.tables import DASH, Cell, Column, SystemTable, share_cell, system_rows


def pass_at_table(comparison: Comparison) -> SystemTable | None:
    """Return pass@k of every system, averaged over the kinds of each group; None if no problem was answered twice."""
    columns = [
        (group, k)
        for group in (KindGroup.MAIN, KindGroup.UNSEEN)
        for k in sorted({k for scopes in comparison.groups[group].summaries.values() for k in scopes[AVERAGE].pass_at})
    ]
    if all(k == 1 for _, k in columns):
        return None

    def own(name: str) -> tuple[Cell, ...]:
        cells = []
        for group, k in columns:
            scopes = comparison.groups[group].summaries.get(name)
            estimate = scopes[AVERAGE].pass_at.get(k) if scopes else None
            cells.append(DASH if estimate is None else share_cell(estimate))
        return tuple(cells)

    sizes = [group for group, _ in columns]
    parts = tuple((f"{group} kinds", sizes.count(group)) for group in dict.fromkeys(sizes))
    starts = [i for i, group in enumerate(sizes) if group not in sizes[:i]]
    return SystemTable(
        "pass-at",
        "Several answers to a problem",
        "pass@k: the chance that at least one of k answers is right, averaged over the kinds of problem. pass@1 is the "
        "accuracy of all other tables (avg@k where there are k answers).",
        parts,
        tuple(Column(f"pass@{k}", starts_part=i in starts[1:]) for i, (_, k) in enumerate(columns)),
        system_rows(comparison, comparison.names, KindGroup.MAIN, len(columns), own, ()),
    )
