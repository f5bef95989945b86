"""The figure of accuracy against call ratio."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipelines.experiment.stage_names import BASE
from pipelines.records.evaluations import Evaluation
from pipelines.report.drawing import WIDTH_IN, call_ratio_axis, draw_oracle, legend_marker, percent_ticks
from pipelines.report.kinds import kind_label
from pipelines.report.run.reading import RunRecords, oracle_of
from pipelines.report.theme import Theme


def draw_frontier(run: RunRecords, theme: Theme) -> Figure | None:
    """Draw accuracy against call ratio of every relay evaluation, one panel per kind (the paper's figure 1)."""
    kinds = [kind for kind in run.kinds if any(run.evaluated(policy, kind) for policy in ("relay", "teacher"))]
    if not kinds:
        return None
    columns = len(kinds) if len(kinds) <= 4 else 3
    rows = -(-len(kinds) // columns)
    figure = Figure(figsize=(WIDTH_IN, 2.9 * rows + 0.7), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.1))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, kind in zip(grid.flat, kinds, strict=False):
        _frontier_panel(axes, run, kind, theme)
    for axes in grid.flat[len(kinds) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel("accuracy")
    for axes in grid.flat[max(0, len(kinds) - columns) : len(kinds)]:
        axes.set_xlabel("call ratio (%, square-root scale)")
    handles = [
        legend_marker(theme.student, "o", "student alone"),
        legend_marker(theme.teacher, "s", "teacher alone"),
        Line2D([], [], color=theme.relay, marker="o", markersize=5, label="relay, first to last (large) evaluation"),
        Line2D(
            [], [], color=theme.muted, linestyle=(0, (1, 2)), linewidth=1.3, label="random routing of whole problems"
        ),
    ]
    if any(oracle_of(run.evaluated("relay", kind)) for kind in kinds):
        handles.insert(3, legend_marker(theme.oracle, "*", "oracle", 11))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), handletextpad=0.5, columnspacing=1.8)
    return figure


def _frontier_panel(axes: Axes, run: RunRecords, kind: str, theme: Theme) -> None:
    axes.set_title(kind_label(kind))
    axes.grid(True, axis="both")
    call_ratio_axis(axes)
    student, teacher, relay = (run.evaluated(policy, kind) for policy in ("student", "teacher", "relay"))
    trained = [evaluation for evaluation in relay if evaluation.name != BASE] or list(relay)
    if student and teacher:
        share = np.linspace(0, 1, 60)
        routed = (1 - share) * student[0].accuracy + share * teacher[-1].accuracy
        axes.plot(share, routed, color=theme.muted, linestyle=(0, (1, 2)), linewidth=1.3)
    for evaluations, color, marker in ((student, theme.student, "o"), (teacher, theme.teacher, "s")):
        if len(evaluations) > 1:
            _point(axes, evaluations[0], color, marker, 5, theme.card, bar=False)
        if evaluations:
            _point(axes, evaluations[-1], color, marker, 7)
    axes.plot(
        [e.call_ratio for e in trained], [e.accuracy for e in trained], color=theme.relay, linewidth=1.3, alpha=0.7
    )
    for index, evaluation in enumerate(trained):
        last = index == len(trained) - 1
        face = theme.card if index == 0 and not last else theme.relay
        _point(axes, evaluation, theme.relay, "o", 8 if last else 4.5, face, bar=last)
    oracle = oracle_of(relay)
    if oracle is not None and oracle.oracle_call_ratio is not None and oracle.oracle_accuracy is not None:
        draw_oracle(axes, oracle.oracle_call_ratio, oracle.oracle_accuracy, theme)
    middle, half = (axes.dataLim.y0 + axes.dataLim.y1) / 2, max(0.2, 0.56 * axes.dataLim.height)
    axes.set_ylim(max(-0.04, middle - half), min(1.06, middle + half))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(percent_ticks)


def _point(
    axes: Axes, evaluation: Evaluation, color: str, marker: str, size: float, face: str | None = None, bar: bool = True
) -> None:
    x = evaluation.call_ratio
    if bar:
        axes.vlines(x, *evaluation.accuracy_ci95, color=color, linewidth=1.2, alpha=0.7, clip_on=False)
    axes.plot(
        x,
        evaluation.accuracy,
        color=color,
        marker=marker,
        markersize=size,
        markerfacecolor=face or color,
        zorder=5,
        clip_on=False,
    )
