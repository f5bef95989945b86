"""The Grafana dashboard as JSON. cluster/grafana/relayllm.json is what this writes."""

from __future__ import annotations

import json
from typing import Any

from cluster.metrics.panels import ROWS, Panel

_WIDTH, _HEIGHT = 8, 8
_PER_ROW = 24 // _WIDTH
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_REF_IDS = "ABCDEFGH"


def dashboard_json() -> str:
    """Return the file's text."""
    return json.dumps(_dashboard(), indent=2) + "\n"


def _dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
                "panels": [],
            }
        )
        y += 1
        for place, panel in enumerate(row):
            at = {"h": _HEIGHT, "w": _WIDTH, "x": place % _PER_ROW * _WIDTH, "y": y + place // _PER_ROW * _HEIGHT}
            panels.append({"id": len(panels) + 1, "gridPos": at, **_panel(panel)})
        y += -(-len(row) // _PER_ROW) * _HEIGHT
    return {
        "uid": "relayllm",
        "title": "RelayLLM",
        "tags": ["relayllm"],
        "editable": True,
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_DATASOURCE, _RUN]},
        "panels": panels,
    }


_DATASOURCE = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}
_RUN = {
    "name": "run",
    "label": "Run",
    "type": "query",
    "datasource": _SOURCE,
    "query": {"query": "label_values(ray_relayllm_actor_state, run)", "refId": "runs"},
    "refresh": 2,
    "sort": 1,
    "multi": False,
    "includeAll": False,
}


def _panel(panel: Panel) -> dict[str, Any]:
    table = panel.shape == "table"
    targets = [
        {
            "refId": ref_id,
            "datasource": _SOURCE,
            "expr": query.expression,
            "legendFormat": query.legend,
            "instant": table,
            "range": not table,
        }
        for ref_id, query in zip(_REF_IDS, panel.queries, strict=False)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit}
    if not table:
        stacked = panel.shape == "stacked"
        defaults["custom"] = {
            "fillOpacity": 40 if stacked else 5,
            "stacking": {"mode": "normal" if stacked else "none"},
            "spanNulls": True,
        }
        defaults["min"] = 0
    kind = (
        {
            "type": "stat",
            "options": {
                "reduceOptions": {"calcs": ["lastNotNull"]},
                "textMode": "value_and_name",
                "colorMode": "none",
                "graphMode": "none",
            },
        }
        if table
        else {"type": "timeseries", "options": {"legend": {"displayMode": "list", "placement": "bottom"}}}
    )
    return {
        **kind,
        "title": panel.title,
        "description": panel.tells,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": targets,
    }
