"""The dashboard asks for metrics and labels that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cluster.metrics.dashboard import dashboard_json
from cluster.metrics.panels import ROWS, Panel
from cluster.metrics.registry import COMMON_TAGS, EXPORTED

FILE = Path(__file__).parents[3] / "cluster" / "grafana" / "relayllm.json"
PANELS = [panel for row in ROWS.values() for panel in row]
SELECTOR = re.compile(r"ray_(relayllm_\w+?)(_total|_bucket)?\{([^}]*)\}")
SUFFIXES = {"gauge": "", "counter": "_total", "histogram": "_bucket"}


def test_the_committed_dashboard_is_what_the_code_writes() -> None:
    """`make docs-generate` writes it anew."""
    assert FILE.read_text(encoding="utf-8") == dashboard_json()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_panel_asks_for_exported_metrics_and_their_tags(panel: Panel) -> None:
    for query in panel.queries:
        selectors = SELECTOR.findall(query.expression)
        assert selectors
        tags: set[str] = {"le"} if "_bucket" in query.expression else set()
        for name, suffix, matchers in selectors:
            metric = EXPORTED[name]
            assert suffix == SUFFIXES[metric.kind]
            own = {*COMMON_TAGS, *metric.tags}
            assert set(re.findall(r"(\w+)=", matchers)) <= own
            tags |= own
        grouped = re.findall(r"by \(([\w, ]+)\)", query.expression)
        assert {label for labels in grouped for label in labels.split(", ")} <= tags
        assert set(re.findall(r"{{(\w+)}}", query.legend)) <= {x for labels in grouped for x in labels.split(", ")}


def test_every_exported_metric_is_on_a_panel() -> None:
    shown = {name for panel in PANELS for query in panel.queries for name, *_ in SELECTOR.findall(query.expression)}
    hidden = set(EXPORTED) - shown
    assert hidden == {"relayllm_answers", "relayllm_optimizer_steps"}


def test_panels_have_places_of_their_own() -> None:
    panels = json.loads(FILE.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) == 23
