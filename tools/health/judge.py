"""A report and the ring make a `Health`: the one way in, and pure."""

from collections.abc import Iterator
from datetime import tzinfo
from typing import Any, Final

from ring.lookup import Ring
from tools.finding import Finding, severity, warning
from tools.health import about_copies, about_devices, about_nodes, about_repairs
from tools.health.health import Health, health_of
from tools.health.report import ClusterReport
from tools.health.scene import Scene, scene_of

_TROUBLES: Final = {
    "task_failed": "background tasks failed; the log names them",
    "users_file_invalid": "times the user file could not be read; the last good users stay in place",
}


def judge(report: ClusterReport, ring: Ring, zone: tzinfo) -> Health:
    """What a report means. ring: as the asker has it; zone: of the times in sentences."""
    scene = scene_of(report, ring, zone)
    found = about_copies.all_copies(scene)
    headline = list(about_copies.about_copies(scene, found))
    others = [
        *about_devices.about_devices(scene),
        *about_devices.about_processes(scene),
        *about_repairs.about_ring(scene),
        *about_repairs.about_repairs(scene),
        *about_nodes.about_nodes(scene),
        *_events(scene),
    ]
    findings = [
        *sorted(headline, key=severity, reverse=True),
        *sorted(others, key=severity, reverse=True),
    ]
    return health_of(findings, _facts(scene, about_copies.facts_of(found)))


def _events(scene: Scene) -> Iterator[Finding]:
    for name, text in _TROUBLES.items():
        count = sum(report.counts.events.get(name, 0) for report in scene.report.reports)
        if count:
            yield warning("events", f"{count} {text}")


def _facts(scene: Scene, copies: dict[str, Any]) -> dict[str, Any]:
    moving = about_repairs.moving_of(scene)
    return {
        "endpoint": scene.report.endpoint,
        "asked_node": scene.report.node,
        "at_ns": scene.report.now_ns,
        "ring": {
            "epoch": scene.ring.epoch,
            "part_power": scene.ring.part_power,
            "moved_rows": about_repairs.moved_rows(scene),
            "settled": moving.settled,
            "unsettled": moving.unsettled,
            "leftovers": moving.leftovers,
            "misplaced": moving.misplaced,
            "misplaced_bytes": moving.misplaced_bytes,
        },
        "copies": copies,
        "devices": about_devices.facts_of(scene),
        "repair": about_repairs.facts_of(scene),
        **about_nodes.facts_of(scene),
    }
