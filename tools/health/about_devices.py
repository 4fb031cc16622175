"""Sentences about devices, nodes and the processes that serve them."""

from collections.abc import Iterator
from typing import Any, Final

from storage.device.config import DeviceStatus
from tools.finding import Finding, ok, problem, size_text, unknown, warning
from tools.health import words
from tools.health.devices import Condition, DeviceView, lost, nodes_reach
from tools.health.report import Silent
from tools.health.scene import Scene, absent_nodes, earliest

SYNC_SLOW_S: Final = 0.5
"""A device whose syncs take longer than this is called slow."""

LISTED_MAX: Final = 32
"""More devices or processes than this are summed up where they are well."""


def about_devices(scene: Scene) -> Iterator[Finding]:
    """Nodes that are gone, then each device in trouble, then those that are well."""
    yield _overall(scene)
    absent = absent_nodes(scene)
    for node, found in sorted(absent.items()):
        yield _absent(scene, node, found)
    for view in scene.devices:
        if view.member.node not in absent:
            yield from _device(scene, view)


def _overall(scene: Scene) -> Finding:
    known, serving = len(scene.devices), sum(view.serving for view in scene.devices)
    nodes = len(scene.nodes())
    processes = len(scene.report.processes)
    workers = processes + len(scene.report.silent)
    where = f" on {words.counted(nodes, 'node')}" if nodes > 1 else ""
    if serving == known and not scene.report.silent:
        text = f"serves: all {known} devices{where}, all {workers} workers"
        return ok("store", f"{scene.report.endpoint} {text}")
    text = f"serves with {serving} of {known} known devices{where} and {processes} of {workers} workers"
    return problem("store", f"{scene.report.endpoint} {text}")


def _absent(scene: Scene, node: str, found: list[DeviceView]) -> Finding:
    given_up = all(lost(view) for view in found)
    text = (
        f"is unreachable{scene.since(earliest(found))}: {found[0].why}; its "
        f"{words.counted(len(found), 'device')} {'is' if len(found) == 1 else 'are'} not served"
    )
    advice = (
        "It was declared lost; its data are made anew elsewhere"
        if given_up
        else "Start it, or look at the network; if it is gone for good, `atoll ring remove` its devices"
    )
    return problem(f"node {node}", f"{text}. {advice}")


def _device(scene: Scene, view: DeviceView) -> Iterator[Finding]:
    about = f"device {view.member.id}"
    where = f"{view.member.path} of node {view.member.node}"
    match view.condition:
        case Condition.OFFLINE:
            yield problem(
                about,
                f"{where} stopped serving: {view.why}. Replace it, or repair its disk and restart",
            )
        case Condition.UNREACHABLE:
            yield problem(
                about, f"{where} is unreachable{scene.since(view.since_ns)}: {view.why or 'no answer'}"
            )
        case Condition.UNKNOWN:
            yield unknown(about, f"{where}: nothing is known of it: {view.why}")
        case Condition.SERVING:
            assert view.status is not None
            if len(scene.devices) <= LISTED_MAX:
                yield ok(about, device_figures(view.status))
            yield from _troubles(about, where, view.status)


def _troubles(about: str, where: str, status: DeviceStatus) -> Iterator[Finding]:
    if status.full:
        yield problem(
            about,
            f"{where} is full ({size_text(status.free_bytes)} free): it refuses writes until objects "
            "are deleted or room is made",
        )
    if status.corrupt_count:
        yield warning(
            about,
            f"{where} failed {words.counted(status.corrupt_count, 'checksum')} since it started; other "
            "copies answered. Look at its quarantine directory and at its disk's health",
        )
    if status.sync_latency_s > SYNC_SLOW_S:
        yield warning(
            about, f"{where}: its disk is slow: a sync takes {status.sync_latency_s * 1000:.0f} ms"
        )
    for note in status.notes:
        yield warning(about, f"{where}: {note}")


def device_figures(status: DeviceStatus) -> str:
    """What a device that is well says of itself."""
    sync = (
        f"a sync takes {status.sync_latency_s * 1000:.1f} ms"
        if status.sync_latency_s
        else "no sync yet"
    )
    return (
        f"serves; journal {size_text(status.journal_bytes)} in {status.journal_segments} segments "
        f"({size_text(status.live_bytes)} live), index {size_text(status.index_bytes)}, "
        f"{size_text(status.free_bytes)} free, {sync}, "
        f"{status.unindexed_rows} rows in the journal only"
    )


# ---- processes -----------------------------------------------------------------------------------


def about_processes(scene: Scene) -> Iterator[Finding]:
    """Those that do not answer, unless their whole node is gone; then those that do."""
    absent = absent_nodes(scene)
    for process in scene.report.silent:
        if process.node not in absent:
            yield _silent(scene, process)
    several = len(scene.nodes()) > 1
    for report in scene.report.reports if len(scene.report.processes) <= LISTED_MAX else ():
        where = f" of node {report.node}" if several else ""
        yield ok(
            "worker",
            f"worker {report.worker}{where} (pid {report.pid}) serves {len(report.devices)} devices in "
            f"{size_text(report.rss_bytes)} of memory",
        )


def _silent(scene: Scene, process: Silent) -> Finding:
    where = f" of node {process.node}" if len(scene.nodes()) > 1 else ""
    seen = scene.sightings.of(process)
    if seen.reached_by:
        return unknown(
            "worker",
            f"worker {process.worker}{where} does not answer here ({process.why}), though "
            f"{nodes_reach(seen.reached_by)} it: look at the network between",
        )
    since = scene.since(seen.since_ns)
    return problem(
        "worker",
        f"worker {process.worker}{where} does not answer{since} ({process.why}); its devices are not "
        "served until it is back (the supervisor starts it again; its log says why it ended)",
    )


def facts_of(scene: Scene) -> dict[str, Any]:
    """How many devices are in which condition."""
    conditions = [view.condition for view in scene.devices]
    return {
        "total": len(conditions),
        **{condition.value: conditions.count(condition) for condition in Condition},
        "full": sum(view.status is not None and view.status.full for view in scene.devices),
        "free_bytes": sum(_free_bytes(scene).values()),
    }


def _free_bytes(scene: Scene) -> dict[tuple[str, str], int]:
    """Free room by node and file system: devices that are folders of one have it together."""
    on = {
        number: found
        for report in scene.report.reports
        for number, found in report.file_systems.items()
    }
    return {
        (view.member.node, str(on.get(view.member.id, view.name))): view.status.free_bytes
        for view in scene.devices
        if view.status is not None
    }
