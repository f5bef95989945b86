"""The paper's figure 1: all systems in the plane of accuracy and call ratio, with the routers and the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipelines.analysis import systems
from pipelines.analysis.bootstrap import AVERAGE, Replicates
from pipelines.analysis.frontier import pareto_front, point_of
from pipelines.analysis.routers import random_router_curve
from pipelines.report.comparison.compared import Comparison
from pipelines.report.comparison.label_places import Label, Points, place_labels
from pipelines.report.comparison.labels import CITER, PERFECT_ROUTER, color, short_label
from pipelines.report.drawing import WIDTH_IN, FigureSpec, call_ratio_axis, draw_oracle, legend_marker, percent_ticks
from pipelines.report.theme import Theme

_DOTTED, _DASHED = (0, (1, 2)), (0, (5, 3))
_LABEL_SIZE = 8.5
_HEIGHT_IN = 6.4
_POINTS_BETWEEN = 12
_MARKERS = {systems.TEACHER: "s", PERFECT_ROUTER: "P"}


def draw_plane(comparison: Comparison, theme: Theme) -> Figure | None:
    """Return accuracy against call ratio, on average over the main kinds; None if no system was evaluated."""
    shown = {name: comparison.main.replicates[name] for name in comparison.names if name in comparison.main.replicates}
    if not shown:
        return None
    figure = Figure(figsize=(WIDTH_IN, _HEIGHT_IN), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    axes = figure.subplots()
    call_ratio_axis(axes)
    axes.grid(True, axis="both")
    axes.set_xlabel("call ratio (%, square-root scale): the share of output tokens that the teacher wrote")
    axes.set_ylabel("accuracy")
    labels = [_mark(axes, name, replicates, theme) for name, replicates in shown.items()]
    if comparison.perfect_router is not None:
        labels.append(_mark(axes, PERFECT_ROUTER, comparison.perfect_router, theme))
    labels += _oracle(axes, comparison, theme)
    _range(axes)
    _routers(axes, comparison, theme)
    _citer_curve(axes, shown, theme)
    figure.legend(handles=_legend(comparison, theme), loc="outside upper left", ncols=4, columnspacing=1.8)
    place_labels(axes, labels, _LABEL_SIZE, _drawn(axes))
    return figure


PLANE = FigureSpec(
    "plane",
    "Figure 1: accuracy against call ratio",
    "Up is better, left is cheaper. Averages over the kinds that are not unseen; bars are 95 % intervals of both. As in the "
    "paper, the random router's solid line uses its share p of queries as the call ratio. Its dotted line uses the share "
    "of tokens that the teacher then writes. The dashed line is what CITER's thresholds and their mixtures reach.",
    "no system was evaluated",
    draw_plane,
)


def _mark(axes: Axes, name: str, system: Replicates, theme: Theme) -> Label:
    accuracy = system.estimate(AVERAGE, lambda means: means.accuracy)
    ratio = system.estimate(AVERAGE, lambda means: means.call_ratio)
    ink = theme.muted if name == PERFECT_ROUTER else color(name, theme)
    axes.hlines(accuracy.value, ratio.low, ratio.high, color=ink, linewidth=1.1, alpha=0.65)
    axes.vlines(ratio.value, accuracy.low, accuracy.high, color=ink, linewidth=1.1, alpha=0.65, clip_on=False)
    large = name in (systems.BASE, systems.TEACHER, systems.RELAY, PERFECT_ROUTER)
    axes.plot(
        ratio.value,
        accuracy.value,
        color=ink,
        marker="D" if systems.is_citer(name) else _MARKERS.get(name, "o"),
        markersize=9 if large else 6,
        markeredgecolor=theme.card,
        markeredgewidth=0.8,
        zorder=6,
        clip_on=False,
    )
    return Label(ratio.value, accuracy.value, short_label(name), ink)


def _oracle(axes: Axes, comparison: Comparison, theme: Theme) -> list[Label]:
    """Draw the mean of the kinds' oracles and return its label; nothing if one of the kinds has no oracle."""
    points = [comparison.results.oracle.get(kind) for kind in comparison.main.kinds]
    found = [point for point in points if point is not None]
    if len(found) < len(points):
        return []
    ratio = float(np.mean([point.call_ratio for point in found]))
    accuracy = float(np.mean([point.accuracy for point in found]))
    draw_oracle(axes, ratio, accuracy, theme)
    return [Label(ratio, accuracy, "oracle", theme.oracle)]


def _routers(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    """Draw the random router's two curves. They coincide if both models write equally much."""
    if comparison.random_router is None:
        return
    base, teacher = (comparison.main.replicates[name] for name in (systems.BASE, systems.TEACHER))
    curve = random_router_curve(base, teacher, AVERAGE)
    axes.plot(curve.share, curve.accuracy, **_by_queries(theme))
    axes.plot(curve.token_share, curve.accuracy, **_by_tokens(theme))


def _by_queries(theme: Theme) -> dict[str, Any]:
    return {"color": theme.faint, "linewidth": 3.0, "alpha": 0.7}


def _by_tokens(theme: Theme) -> dict[str, Any]:
    return {"color": theme.ink, "linewidth": 1.3, "linestyle": _DOTTED}


def _citer_curve(axes: Axes, shown: Mapping[str, Replicates], theme: Theme) -> None:
    """Draw the front of CITER's thresholds and the base student."""
    if not any(systems.is_citer(name) for name in shown):
        return
    points = [
        point_of(name, replicates, AVERAGE, lambda means: means.call_ratio)
        for name, replicates in shown.items()
        if systems.is_citer(name) or name == systems.BASE
    ]
    front = [(point.cost, point.accuracy) for point in pareto_front(points)]
    axes.plot(*zip(*front, strict=True), color=theme.kinds[2], linewidth=1.3, linestyle=_DASHED)


def _drawn(axes: Axes) -> Points:
    """Return points close together on all curves and intervals, which labels should not cover."""
    paths = [np.asarray(line.get_xydata()) for line in axes.lines]
    paths += [np.asarray(path.vertices) for bars in axes.collections for path in bars.get_paths()]
    parts = [path for path in paths if len(path) > 1]
    ends = np.concatenate([np.stack([part[:-1], part[1:]], axis=1) for part in parts])
    between = np.linspace(0, 1, _POINTS_BETWEEN)[:, None, None]
    return ((1 - between) * ends[:, 0] + between * ends[:, 1]).reshape(-1, 2)


def _range(axes: Axes) -> None:
    """Set the range of accuracies that is shown: all marks, with room for labels."""
    low, high = axes.dataLim.y0, axes.dataLim.y1
    room = max(0.12 * (high - low), 0.02)
    axes.set_ylim(max(low - room, -0.04), min(high + room, 1.05))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(percent_ticks)


def _legend(comparison: Comparison, theme: Theme) -> list[Line2D]:
    shown = comparison.main.replicates
    handles = [
        legend_marker(theme.student, "o", "student alone"),
        legend_marker(theme.relay, "o", "student with calls"),
        legend_marker(theme.teacher, "s", "teacher alone"),
    ]
    if any(systems.is_citer(name) for name in shown):
        handles.append(
            Line2D(
                [], [], color=theme.kinds[2], marker="D", markersize=5, linestyle=_DASHED, label=f"{CITER} by threshold"
            )
        )
    if comparison.random_router is not None:
        handles += [
            Line2D([], [], label="random router, share of queries", **_by_queries(theme)),
            Line2D([], [], label="random router, share of tokens", **_by_tokens(theme)),
            legend_marker(theme.muted, "P", PERFECT_ROUTER),
        ]
    if comparison.results.oracle:
        handles.append(legend_marker(theme.oracle, "*", "oracle", 11))
    return handles
