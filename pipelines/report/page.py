"""Writes a run's report: report.html, which needs no network, and the figures as PNG files."""

from __future__ import annotations

import os
import tempfile
from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.report.data import Run, kind_label, read_run
from pipelines.report.plots import FIGURES, WIDTH_IN, png
from pipelines.report.summary import headline_table, percent, verdict
from pipelines.report.theme import DARK, LIGHT
from pipelines.traces import Trace

MAX_TRACES = 240


@dataclass(frozen=True, slots=True)
class FigureBlock:
    """A figure as the page shows it; the images are base64 PNGs, empty where the run has no data."""

    title: str
    caption: str
    needs: str
    light: str
    dark: str


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

    Raises RunReadError where the directory holds no metrics.jsonl or a record that breaks its format.
    """
    run = read_run(run_dir)
    figures = _write_figures(run)
    path = run_dir / "report.html"
    _replace(path, render(run, figures).encode())
    return path


def render(run: Run, figures: Sequence[FigureBlock]) -> str:
    """The page as HTML. All text of the run is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["kind"] = kind_label
    traces = chosen_traces(run.traces)
    return environment.get_template("template.html.j2").render(
        run=run,
        verdict=verdict(run),
        facts=_facts(run),
        table=headline_table(run),
        figures=figures,
        figure_width_px=round(WIDTH_IN * 96),
        traces=traces,
        trace_kinds=list(dict.fromkeys(trace.kind for trace in traces)),
        trace_groups=list(dict.fromkeys(f"{trace.name}, {trace.policy}" for trace in traces)),
        metrics=_metric_summaries(run),
        light=LIGHT,
        dark=DARK,
    )


def chosen_traces(traces: Sequence[Trace], limit: int = MAX_TRACES) -> tuple[Trace, ...]:
    """At most `limit` traces, in their order, as even over evaluations, policies and kinds as they allow."""
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, trace in enumerate(traces):
        groups[trace.name, trace.policy, trace.kind].append(index)
    rank = {index: place for group in groups.values() for place, index in enumerate(group)}
    kept = sorted(rank, key=lambda index: (rank[index], index))[:limit]
    return tuple(traces[index] for index in sorted(kept))


def _write_figures(run: Run) -> list[FigureBlock]:
    """Draw all figures for light and dark screens, save them in figures/, and return them for the page."""
    directory = run.directory / "figures"
    directory.mkdir(exist_ok=True)
    blocks = []
    for spec in FIGURES:
        images = []
        for theme, suffix in ((LIGHT, ""), (DARK, "-dark")):
            image = png(spec, run, theme)
            path = directory / f"{spec.name}{suffix}.png"
            if image is None:
                path.unlink(missing_ok=True)
            else:
                _replace(path, image)
            images.append("" if image is None else b64encode(image).decode("ascii"))
        blocks.append(FigureBlock(spec.title, spec.caption, spec.needs, *images))
    return blocks


def _facts(run: Run) -> list[tuple[str, str]]:
    """Name and value of the figures under the title, as many as the run has."""
    facts = [("GRPO steps", f"{run.steps_done}")]
    if run.duration_s > 0:
        facts.append(("wall clock", _duration(run.duration_s)))
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


def _duration(seconds: float) -> str:
    """3725 as `1 h 2 min`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _metric_summaries(run: Run) -> list[MetricSummary]:
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


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
