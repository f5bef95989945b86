"""Finds places for the labels of marks in a figure, so that they cover neither each other nor other marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray

Points = NDArray[np.float64]

_DISTANCES_PT = (7, 12, 18, 26, 36, 48, 62)
_DIRECTIONS = 16
_LEADER_FROM = 2
"""index of the first of these distances at which a line leads from the text to its mark"""
_COVERED_COSTS_PT = 300
"""covering something with a whole label costs as much as this distance from the mark"""
_OVERLAP_COSTS_PT = 200
"""any overlap with another label costs as much as this distance"""
_MARK_PT = 5


@dataclass(frozen=True, slots=True)
class Label:
    """A mark at a point of the axes, and its name."""

    x: float
    y: float
    text: str
    color: str


def place_labels(axes: Axes, labels: Sequence[Label], size: float, obstacles: Points) -> None:
    """Write each label near its mark. A label further away gets a line to its mark.

    `obstacles` [N, 2] are points that labels should not cover. The limits of the axes have to be set before.
    """
    figure = axes.figure.figure
    assert figure is not None
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    pixels_per_pt = figure.dpi / 72
    marks = axes.transData.transform([(label.x, label.y) for label in labels])
    half = _MARK_PT * pixels_per_pt
    taken = np.concatenate([_boxes(marks, half), _boxes(axes.transData.transform(obstacles), half / 3)])
    written = np.empty((0, 4))
    inside = np.asarray([axes.get_window_extent(renderer).extents])
    for label, mark in zip(labels, marks, strict=True):
        text = axes.text(0, 0, label.text, fontsize=size)
        extent = text.get_window_extent(renderer)
        text.remove()
        offsets = _offsets(extent.width / pixels_per_pt, extent.height / pixels_per_pt)
        middles = mark + offsets * pixels_per_pt
        reach = np.asarray([extent.width, extent.height]) / 2
        boxes = np.concatenate([middles - reach, middles + reach], axis=1)
        area = extent.width * extent.height
        covered = _shared(boxes, taken).sum(axis=1) + area - _shared(boxes, inside)[:, 0]
        costs = np.repeat(_DISTANCES_PT, _DIRECTIONS) + _COVERED_COSTS_PT * covered / area
        best = int(np.argmin(costs + _OVERLAP_COSTS_PT * (_shared(boxes, written) > 0).sum(axis=1)))
        written = np.concatenate([written, boxes[best : best + 1]])
        far = best // _DIRECTIONS >= _LEADER_FROM
        axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=tuple(offsets[best]),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            color=label.color,
            arrowprops={"arrowstyle": "-", "color": label.color, "linewidth": 0.6, "shrinkB": 3} if far else None,
            zorder=7,
        )


def _offsets(width: float, height: float) -> Points:
    """Return [distances * directions, 2] places for the middle of a text of this size, relative to its mark."""
    turns = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    directions = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    reach = np.asarray(_DISTANCES_PT)[:, None, None] + np.asarray([width, height]) / 2
    return (reach * directions).reshape(-1, 2)


def _boxes(points: Points, half: float) -> Points:
    return np.concatenate([points - half, points + half], axis=1)


def _shared(boxes: Points, others: Points) -> Points:
    """Return [boxes, others] the area that each pair of boxes (x0, y0, x1, y1) shares."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)
