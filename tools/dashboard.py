"""The Grafana dashboard as a document; `doc/grafana/atoll.json` is what it makes, ready to import.

`python -m tools.dashboard > doc/grafana/atoll.json` writes it anew; a test sees that it was done, and
that every expression asks for metrics that there are (`metric_table.py`).
"""

import json
from typing import Any, Final

from tools.dashboard_panels import ROW_UNITS, SECTIONS, Panel, Query

SCHEMA_VERSION: Final = 39
"""Grafana 10.3 and newer read it; newer ones migrate it themselves."""

_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_NODES: Final = 'instance=~"$instance"'


def dashboard() -> dict[str, Any]:
    """The document that Grafana imports."""
    return {
        "title": "Atoll",
        "uid": "atoll",
        "description": "An Atoll cluster: requests, devices, repair, ring changes.",
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "tags": ["atoll", "storage"],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source_variable(), _node_variable()]},
        "panels": _panels(),
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _node_variable() -> dict[str, Any]:
    return {
        "name": "instance",
        "label": "Node",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(atoll_build_info, instance)", "refId": "nodes"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    y = 0
    for section in SECTIONS:
        place = {"x": 0, "y": y, "w": ROW_UNITS, "h": 1}
        row = {"id": len(found) + 1, "type": "row", "title": section.title, "gridPos": place}
        found.append({**row, "collapsed": False, "panels": []})
        y += 1
        x, height = 0, 0
        for panel in section.panels:
            if x + panel.width > ROW_UNITS:
                x, y = 0, y + height
            height = 4 if panel.kind == "stat" else 8
            place = {"x": x, "y": y, "w": panel.width, "h": height}
            found.append({"id": len(found) + 1, "gridPos": place, **_panel(panel)})
            x += panel.width
        y += height
    return found


def _panel(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    for colour, value in zip(("orange", "red"), panel.limits, strict=False):
        steps.append({"color": colour, "value": value})
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    options: dict[str, Any]
    if panel.kind == "stat":
        named = any(query.legend for query in panel.queries)
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "textMode": "value_and_name" if named else "value",
            "colorMode": "value" if panel.limits else "none",
        }
    else:
        stacking = {"mode": "normal" if panel.stacked else "none"}
        defaults |= {"min": 0, "custom": {"fillOpacity": 12, "stacking": stacking}}
        options = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [_target(number, query) for number, query in enumerate(panel.queries)],
    }


def _target(number: int, query: Query) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + number),
        "datasource": _SOURCE,
        "expr": query.expression.replace("{N}", f"{{{_NODES}}}").replace("{N,", f"{{{_NODES},"),
        "legendFormat": query.legend or "__auto",
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
