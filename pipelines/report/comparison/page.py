"""Writes a study's report: one HTML page, which needs no network, and the figures as PNG files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cluster.files import write_atomically
from pipelines.analysis.bootstrap import RESAMPLES
from pipelines.analysis.results import StudyResults
from pipelines.report.assembly import FigureBlock, filled, write_figures
from pipelines.report.comparison.calls import CALLS, calls_table
from pipelines.report.comparison.compared import Comparison, compare
from pipelines.report.comparison.costs import cost_table, savings_table
from pipelines.report.comparison.evidence import finding_blocks
from pipelines.report.comparison.learning import LEARNING, read_training_runs
from pipelines.report.comparison.paper_tables import paper_tables
from pipelines.report.comparison.pass_at import pass_at_table
from pipelines.report.comparison.plane import PLANE
from pipelines.report.comparison.traces import StudyTraces, read_study_traces, study_filters, study_traces
from pipelines.report.comparison.verdict import facts, verdict
from pipelines.report.run.viewer import evenly


def write_comparison(results: StudyResults, path: Path, resamples: int = RESAMPLES) -> Path:
    """Write the page at `path` and figures/*.png beside it, and return the path.

    Intervals come from `resamples` resamples of the problems. Raises `ValueError` if two systems have answers to different
    problems of one group, and `RunReadError` if a record of a run breaks its format.
    """
    comparison = compare(results, resamples)
    traces = read_study_traces(results)
    training = read_training_runs(results.runs)
    directory = path.parent / "figures"
    plane, calls = write_figures((PLANE, CALLS), comparison, directory)
    (learning,) = write_figures((LEARNING,), training, directory)
    remarks = (*comparison.remarks, *training.remarks, *traces.remarks)
    write_atomically(path, render(comparison, traces, (plane, calls, learning), remarks).encode())
    return path


def render(
    comparison: Comparison, traces: StudyTraces, figures: Sequence[FigureBlock], remarks: Sequence[str] = ()
) -> str:
    """Return the page as HTML, with the figures of plane, calls and learning. All text of the results is escaped."""
    plane, calls, learning = figures
    shown = study_traces(traces.by_system)
    chosen = evenly(shown)
    several = pass_at_table(comparison)
    return filled(
        "comparison/template.html.j2",
        {
            "name": comparison.results.name,
            "verdict": verdict(comparison),
            "facts": facts(comparison),
            "remarks": remarks,
            "findings": finding_blocks(comparison),
            "paper_tables": (*paper_tables(comparison), *([several] if several else [])),
            "plane": plane,
            "cost_tables": (cost_table(comparison), savings_table(comparison)),
            "calls": calls,
            "calls_table": calls_table(comparison),
            "learning": learning,
            "traces": chosen,
            "traces_in_all": len(shown),
            "filters": study_filters(chosen),
        },
    )
