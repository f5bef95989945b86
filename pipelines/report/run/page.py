"""Writes a run's report: report.html, which needs no network, and the figures as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.files import write_atomically
from pipelines.report.assembly import FigureBlock, filled, write_figures
from pipelines.report.run.attention import concerns, ended
from pipelines.report.run.figures import FIGURES
from pipelines.report.run.reading import RunRecords, read_run
from pipelines.report.run.summary import duration, evaluation_rows, headline_table, run_verdict
from pipelines.report.run.viewer import evaluation_filters, evaluation_traces, evenly


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric of one stage over its steps."""

    stage: str
    metric: str
    points: int
    first: float
    last: float
    low: float
    high: float


def write_report(run_dir: Path) -> Path:
    """Write `run_dir`/report.html and `run_dir`/figures/*.png, and return the page's path.

    Raises `RunReadError` if the directory has no metrics.jsonl, or a record breaks its format.
    """
    run = read_run(run_dir)
    figures = write_figures(FIGURES, run, run_dir / "figures")
    path = run_dir / "report.html"
    write_atomically(path, render(run, figures).encode())
    return path


def render(run: RunRecords, figures: Sequence[FigureBlock]) -> str:
    """Return the page as HTML. All text of the run is escaped."""
    traces = evaluation_traces(run.traces)
    chosen = evenly(traces)
    return filled(
        "template.html.j2",
        {
            "run": run,
            "verdict": run_verdict(run),
            "concerns": concerns(run),
            "ended": ended(run.alarms),
            "facts": _facts(run),
            "table": headline_table(run),
            "evaluations": evaluation_rows(run),
            "some_without_box": any(one.no_box_share for one in run.evaluations),
            "figures": figures,
            "traces": chosen,
            "traces_in_all": len(traces),
            "filters": evaluation_filters(chosen),
            "metrics": _metric_summaries(run),
        },
    )


def _facts(run: RunRecords) -> list[tuple[str, str]]:
    """Return name and value of the figures under the title, as far as the run has them."""
    facts = [("GRPO steps", f"{run.steps_done}")]
    if run.duration_s > 0:
        facts.append(("wall clock", duration(run.duration_s)))
    if run.evaluations:
        facts.append(("evaluations", f"{len({evaluation.name for evaluation in run.evaluations})}"))
    _, rewards = run.series("reward/mean")
    if rewards.size:
        facts.append(("last mean reward", f"{rewards[-1]:.3f}"))
    _, gaps = run.series("learner/logprob_gap")
    if gaps.size:
        facts.append(("largest log-prob gap", f"{gaps.max():.2g}"))
    if run.seed is not None:
        facts.append(("seed", run.seed))
    return facts


def _metric_summaries(run: RunRecords) -> list[MetricSummary]:
    found = []
    for stage in run.stages:
        names = sorted({metric for row in run.rows if row.stage == stage for metric in row.metrics})
        for metric in names:
            _, values = run.series(metric, stage)
            if values.size:
                first, last = float(values[0]), float(values[-1])
                found.append(
                    MetricSummary(stage, metric, values.size, first, last, float(values.min()), float(values.max()))
                )
    return found
