"""Draws what the Grafana dashboard shows of a small run: docs/images/grafana.png.

`python -m docs.draw_panels` does the run, asks a real Prometheus for the data of each panel, and draws it with matplotlib.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from cluster.metrics.panels import ROWS, Panel
from tests.watched_run import Series, Watched, watched_run

PICTURE = Path(__file__).parent / "images" / "grafana.png"
_PER_ROW = 3
_MOST_IN_LEGEND = 9


def draw(run: Watched, picture: Path) -> None:
    """Draw all panels in their order."""
    panels = [panel for row in ROWS.values() for panel in row]
    height = -(-len(panels) // _PER_ROW)
    figure, places = plt.subplots(height, _PER_ROW, figsize=(16, 2.9 * height), layout="constrained")
    for place, panel in zip(places.flat, panels, strict=False):
        _panel(place, panel, [one for query in panel.queries for one in run.series(query)])
    for place in places.flat[len(panels) :]:
        place.axis("off")
    figure.savefig(picture, dpi=75)


def _panel(place: plt.Axes, panel: Panel, series: list[Series]) -> None:
    factor = {"percentunit": 100.0, "bytes": 1 / 2**30}.get(panel.unit, 1.0)
    unit = {"percentunit": " (%)", "bytes": " (GiB)", "s": " (s)"}.get(panel.unit, "")
    place.set_title(panel.title + unit, fontsize=10, loc="left", fontweight="bold")
    place.tick_params(labelsize=7)
    if panel.shape == "table":  # what is 1 at a time, as bars over time; numbers as their last value
        for line, one in enumerate(series):
            place.plot(one.times, [line] * len(one.times), "s", markersize=3)
        texts = [f"{one.legend} ({one.values[-1]:g})" for one in series]
        place.set_yticks(range(len(series)), texts, fontsize=6)
        return
    for one in series:
        place.plot(one.times, [value * factor for value in one.values], linewidth=1.2, label=one.legend)
    place.set_ylim(bottom=0)
    if len(series) <= _MOST_IN_LEGEND:
        place.legend(fontsize=6, loc="best")
    else:
        place.legend(fontsize=4.5, ncols=3, loc="best")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="watched-") as folder, watched_run(Path(folder)) as run:
        draw(run, PICTURE)


if __name__ == "__main__":
    main()
