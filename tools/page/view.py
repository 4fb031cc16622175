"""What the page shows, made of a report, the ring and the health: words and numbers, no HTML."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple

from ring.lookup import Ring
from ring.types import ROWS, DeviceState
from tools.finding import Finding, size_text
from tools.finding import Level as Found
from tools.health import words
from tools.health.devices import Condition, DeviceView
from tools.health.health import Health
from tools.health.repairs import Repair
from tools.health.report import Answered, ClusterReport
from tools.health.scene import Scene, scene_of
from tools.page.ring_picture import HUES, Arc, Slot, arcs

LISTED_MAX: Final = 256
"""With more devices only those that are not well have a row of their own."""

NODES_SHOWN_DEVICES_MAX: Final = 2000
"""With more devices only nodes that are not well are shown."""

_TONES: Final = {
    Condition.SERVING: "",
    Condition.OFFLINE: "offline",
    Condition.UNREACHABLE: "unreachable",
    Condition.UNKNOWN: "unknown",
}


class Card(NamedTuple):
    """One number at the top. tone: "", "warn" or "bad"."""

    title: str
    value: str
    note: str
    tone: str = ""


class DeviceRow(NamedTuple):
    """One device. tone: what is wrong, "" for nothing."""

    name: str
    path: str
    tone: str
    state: str
    partitions: str
    free: str
    sync: str
    rows: str
    trouble: str


class NodeGroup(NamedTuple):
    """One node's devices. squares: the tone and name of each; rows: of those that are listed."""

    name: str
    tone: str
    summary: str
    squares: list[tuple[str, str]]
    rows: list[DeviceRow]


class ZoneGroup(NamedTuple):
    """One zone. hue: its colour in the ring's picture."""

    name: str
    hue: int
    summary: str
    nodes: list[NodeGroup]


class RepairRow(NamedTuple):
    """One kind of repair work. share: of its round that is done, 0 … 100, None where unknown."""

    name: str
    tone: str
    state: str
    doing: str
    done: str
    left: str
    rate: str
    ends: str
    share: int | None


class ProcessRow(NamedTuple):
    """One process."""

    name: str
    tone: str
    version: str
    devices: str
    memory: str
    epoch: str
    clock: str
    up: str
    reaches: str


class Page(NamedTuple):
    """All of it. level: of the whole; findings: those that are not well; fine: the others."""

    level: str
    headline: str
    at: str
    node: str
    findings: list[Finding]
    fine: list[Finding]
    cards: list[Card]
    arcs: list[Arc]
    epoch: int
    partitions: str
    zones: list[ZoneGroup]
    repairs: list[RepairRow]
    processes: list[ProcessRow]


def page_of(report: ClusterReport, ring: Ring, health: Health, zone: tzinfo) -> Page:
    """What there is to show. zone: of the times."""
    scene = scene_of(report, ring, zone)
    bad = [finding for finding in health.findings if finding.level is not Found.OK]
    headline = health.findings[0]
    return Page(
        level=health.level.value,
        headline=headline.text,
        at=_clock_time(report.now_ns, zone),
        node=report.node,
        findings=[finding for finding in bad if finding is not headline],
        fine=[f for f in health.findings if f.level is Found.OK and f is not headline],
        cards=_cards(scene, health.facts),
        arcs=arcs([_slot(view, held) for view, held in _held(scene)]),
        epoch=ring.epoch,
        partitions=words.number(ring.partition_count),
        zones=_zones(scene),
        repairs=[_repair_row(scene, repair) for repair in scene.repairs],
        processes=_processes(scene),
    )


def _clock_time(at_ns: int, zone: tzinfo) -> str:
    at = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_ns // 1000)).astimezone(zone)
    return f"{at:%Y-%m-%d %H:%M:%S}"


# ---- cards ---------------------------------------------------------------------------------------


def _cards(scene: Scene, facts: dict[str, Any]) -> list[Card]:
    rows = facts["copies"][ROWS]
    short = sum(one["count"] for one in rows["short"])
    objects = Card(
        "objects",
        words.number(rows["total"]) if rows["counted"] or rows["total"] else "…",
        _objects_note(rows, short),
        "bad" if short else "warn" if rows["unknown"] else "",
    )
    devices = facts["devices"]
    away = devices["total"] - devices["serving"]
    nodes = facts["nodes"]
    cards = [
        objects,
        Card(
            "devices",
            f"{words.number(devices['serving'])} of {words.number(devices['total'])}",
            f"serve, on {words.counted(nodes['total'], 'node')}",
            "bad" if away else "",
        ),
        Card("free room", size_text(devices["free_bytes"]), "on the devices that answered"),
        _ring_card(scene, facts["ring"]),
        _repair_card(scene),
    ]
    silent = facts["processes"]["silent"]
    if silent:
        cards.append(Card("silent", str(silent), "processes did not answer here", "bad"))
    return cards


def _objects_note(rows: dict[str, Any], short: int) -> str:
    if short:
        return f"{words.number(short)} at fewer than {rows['copies']} copies"
    if rows["unknown"]:
        return f"of {words.number(rows['unknown'])} the copies are not known"
    return "all at full copies" if rows["counted"] else "all at full copies; being counted"


def _ring_card(scene: Scene, ring: dict[str, Any]) -> Card:
    if ring["moved_rows"]:
        settled = ring["moved_rows"] - ring["unsettled"]
        note = f"{max(0, settled)} of {ring['moved_rows']} moves have settled"
    elif ring["misplaced"]:
        note = f"{size_text(ring['misplaced_bytes'])} on their way home"
    else:
        note = "nothing moves"
    return Card("ring epoch", words.number(scene.ring.epoch), note)


def _repair_card(scene: Scene) -> Card:
    """The work that moves or makes data, if any does."""
    busy = [one for one in scene.repairs if one.busy and one.rate_bytes_s]
    if not busy:
        return Card("repair", "idle", "nothing is being made anew or moved")
    first = max(busy, key=lambda one: one.rate_bytes_s)
    ends = f", done about {scene.about(first.ends_s)}" if first.ends_s else ""
    return Card("repair", words.rate(first.rate_bytes_s), f"{first.name}{ends}")


# ---- zones, nodes, devices -----------------------------------------------------------------------


def _held(scene: Scene) -> list[tuple[DeviceView, int]]:
    held = scene.ring.held(ROWS)
    for placement in scene.ring.placements:
        if placement.name != ROWS:
            for number, count in scene.ring.held(placement.name).items():
                held[number] += count
    return [(view, held[view.member.id]) for view in scene.devices]


def _tone(view: DeviceView) -> str:
    if view.status is not None and view.status.full:
        return "full"
    return _TONES[view.condition]


def _slot(view: DeviceView, held: int) -> Slot:
    member = view.member
    return Slot(member.zone, member.node, f"d{member.id} on {member.node}", held, _tone(view))


def _zones(scene: Scene) -> list[ZoneGroup]:
    by_zone: dict[str, dict[str, list[tuple[DeviceView, int]]]] = {}
    held = _held(scene)
    for view, count in held:
        by_zone.setdefault(view.member.zone, {}).setdefault(view.member.node, []).append((view, count))
    all_rows = len(held) <= LISTED_MAX
    all_nodes = len(held) <= NODES_SHOWN_DEVICES_MAX
    found = []
    for number, (zone, nodes) in enumerate(sorted(by_zone.items())):
        groups = [_node(name, devices, all_rows=all_rows) for name, devices in sorted(nodes.items())]
        devices = sum(len(group.squares) for group in groups)
        summary = f"{words.counted(len(groups), 'node')}, {words.counted(devices, 'device')}"
        shown = [group for group in groups if all_nodes or group.tone]
        if not all_nodes:
            summary += f", {words.counted(len(groups) - len(shown), 'node')} well"
        found.append(ZoneGroup(zone, number % HUES, summary, shown))
    return found


def _node(name: str, devices: Iterable[tuple[DeviceView, int]], *, all_rows: bool) -> NodeGroup:
    rows = [_device_row(view, held) for view, held in devices]
    bad = [row for row in rows if row.tone]
    tone = "" if not bad else "partly" if len(bad) < len(rows) else bad[0].tone
    summary = f"{words.counted(len(rows), 'device')}"
    if bad:
        summary = f"{len(rows) - len(bad)} of {summary} well"
    squares = [(row.tone, f"{row.name}: {row.state}") for row in rows]
    return NodeGroup(name, tone, summary, squares, rows if all_rows else bad)


_STATES: Final = {DeviceState.LEAVING: "leaving", DeviceState.LOST: "given up"}


def _device_row(view: DeviceView, held: int) -> DeviceRow:
    status, member = view.status, view.member
    state = _tone(view) or _STATES.get(member.state, "serving")
    trouble = view.why
    if status is not None and status.corrupt_count and not trouble:
        trouble = f"{words.counted(status.corrupt_count, 'checksum')} failed"
    return DeviceRow(
        name=f"d{member.id}",
        path=member.path,
        tone=_tone(view),
        state=state,
        partitions=words.number(held),
        free=size_text(status.free_bytes) if status is not None and view.serving else "–",
        sync=words.seconds(status.sync_latency_s) if status is not None and status.syncs else "–",
        rows=words.number(status.indexed_rows) if status is not None and view.serving else "–",
        trouble=trouble,
    )


# ---- repair and processes ------------------------------------------------------------------------


def _repair_row(scene: Scene, repair: Repair) -> RepairRow:
    state = "works" if repair.busy else "idle"
    tone = ""
    if repair.paused:
        state, tone = "paused", "warn"
    if repair.failing:
        state, tone = "fails", "bad"
    share = None
    if repair.busy and repair.left:
        share = 100 * repair.done // (repair.done + repair.left)
    left = "–" if repair.left is None else words.number(repair.left)
    if repair.left_bytes:
        left += f" ({size_text(repair.left_bytes)})"
    return RepairRow(
        name=repair.name,
        tone=tone,
        state=state,
        doing=repair.error or "; ".join(repair.doing) or "–",
        done=words.number(repair.done),
        left=left,
        rate=words.rate(repair.rate_bytes_s) if repair.rate_bytes_s else "–",
        ends=scene.about(repair.ends_s) if repair.ends_s else "–",
        share=share,
    )


def _processes(scene: Scene) -> list[ProcessRow]:
    rows = [_process_row(scene, answered) for answered in scene.report.processes]
    rows += [
        ProcessRow(
            f"{silent.node}/{silent.worker}", "bad", "silent", "–", "–", "–", "–", "–", silent.why
        )
        for silent in scene.report.silent
    ]
    return sorted(rows)


def _process_row(scene: Scene, answered: Answered) -> ProcessRow:
    report = answered.report
    if (report.node, report.worker) == (scene.report.node, scene.report.worker):
        clock = "asks"
    else:
        clock = f"{answered.offset_s:+.3f} s ± {words.seconds(answered.error_s)}"
    up_s = max(0.0, (report.now_ns - report.started_ns) / 1e9)
    reached = report.peers - len(report.unreached)
    return ProcessRow(
        name=f"{report.node}/{report.worker}",
        tone="bad" if report.unreached else "",
        version=report.version or "–",
        devices=str(len(report.devices)),
        memory=size_text(report.rss_bytes),
        epoch=words.number(report.epoch),
        clock=clock,
        up=words.seconds(up_s) if report.started_ns else "–",
        reaches=f"{reached} of {report.peers} others" if report.peers else "no others",
    )
