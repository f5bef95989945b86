"""Tools to draw all figures: panels in rows, lines with their trend, percent axes, and PNG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Generic, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from pipelines.report.theme import Theme

WIDTH_IN = 10.6
PIXELS_PER_IN = 192
SMOOTH_FROM_POINTS = 30

Panel = Callable[[Axes], None]
Values = NDArray[np.float64]
Subject = TypeVar("Subject")


@dataclass(frozen=True)
class FigureSpec(Generic[Subject]):
    """A figure of the report: `draw` returns the figure, or None if the subject lacks `needs`."""

    name: str
    title: str
    caption: str
    needs: str
    draw: Callable[[Subject, Theme], Figure | None]


def png(spec: FigureSpec[Subject], subject: Subject, theme: Theme) -> bytes | None:
    """Return the figure as a PNG, None if the subject has no data for it."""
    with rc_context(theme.rc()):  # type: ignore[arg-type]
        figure = spec.draw(subject, theme)
        if figure is None:
            return None
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=PIXELS_PER_IN, metadata={"Software": None})
    return buffer.getvalue()


def trend(axes: Axes, series: tuple[NDArray[np.int64], Values], color: str, label: str = "") -> None:
    """Draw a line. With many points it is faint, with its moving average over it."""
    steps, values = series
    if not steps.size:
        return
    name = label or "_nolegend_"
    if steps.size < SMOOTH_FROM_POINTS:
        axes.plot(steps, values, color=color, label=name, marker="o" if steps.size < 12 else "", markersize=3.5)
        return
    axes.plot(steps, values, color=color, linewidth=0.8, alpha=0.35)
    axes.plot(steps, smoothed(values), color=color, label=name)


def smoothed(values: Values) -> Values:
    """Return the centred moving average [N] over about a twelfth of the points, with a shorter window at the ends."""
    half = max(1, len(values) // 24)
    return np.asarray([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def panel_rows(panels: Sequence[Panel], columns: int = 2, height_in: float = 3.0) -> Figure | None:
    """Return a figure over GRPO steps with the panels in rows of `columns`, None if there is no panel."""
    if not panels:
        return None
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH_IN, height_in * rows + 0.3), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, draw in zip(grid.flat, panels, strict=False):
        axes.set_xlabel("GRPO step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        draw(axes)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    return figure


def legend_above(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=len(handles),
            borderaxespad=0.2,
            handlelength=1.2,
            handletextpad=0.5,
            columnspacing=1.1,
        )


def percent_axis(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.yaxis.set_major_formatter(percent_ticks)


def call_ratio_axis(axes: Axes) -> None:
    """Set the x axis to 0 to 1 on a square-root scale, which shows 0 and keeps small call ratios apart."""
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.clip(x, 0, None)), np.square))
    axes.set_xlim(0, 1.1)
    axes.xaxis.set_major_locator(FixedLocator([0, 0.01, 0.05, 0.1, 0.25, 0.5, 1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(_bare_percent_ticks)


def draw_oracle(axes: Axes, call_ratio: float, accuracy: float, theme: Theme) -> None:
    """Draw a star for the best possible policy."""
    axes.plot(
        call_ratio,
        accuracy,
        color=theme.oracle,
        marker="*",
        markersize=14,
        markeredgecolor=theme.card,
        markeredgewidth=0.8,
        zorder=6,
        clip_on=False,
    )


def legend_marker(color: str, marker: str, label: str, size: float = 7) -> Line2D:
    return Line2D([], [], color=color, marker=marker, markersize=size, linestyle="", label=label)


percent_ticks = FuncFormatter(lambda value, _: f"{100 * value:.3g} %" if -1e-9 < value < 1 + 1e-9 else "")
_bare_percent_ticks = FuncFormatter(lambda value, _: f"{100 * value:.3g}")
