"""What every sentence is made from: the report, the ring, the devices' conditions and the time."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import tzinfo
from typing import NamedTuple

from ring.lookup import Ring
from tools.health import words
from tools.health.devices import Condition, DeviceView, views
from tools.health.repairs import Repair, repairs
from tools.health.report import ClusterReport
from tools.health.sightings import Sightings

CAUSES_MAX = 3
"""How many devices one sentence names."""


class Scene(NamedTuple):
    """One report, looked at. whole: nodes of which every device is in one condition."""

    report: ClusterReport
    ring: Ring
    zone: tzinfo
    devices: list[DeviceView]
    whole: dict[Condition, dict[str, list[DeviceView]]]
    sightings: Sightings
    repairs: list[Repair]

    def since(self, at_ns: int) -> str:
        """ " since 14:02", or nothing where that is not known."""
        return f" since {words.moment(at_ns, self.report.now_ns, self.zone)}" if at_ns else ""

    def about(self, at_s: float) -> str:
        """The time of day of an instant in Unix seconds."""
        return words.moment(int(at_s * 1e9), self.report.now_ns, self.zone)

    def nodes(self) -> list[str]:
        """Of the ring, by name."""
        return sorted({member.node for member in self.ring.members})

    def repair(self, name: str) -> Repair | None:
        """The work of that name, if any process has it."""
        return next((found for found in self.repairs if found.name == name), None)


def scene_of(report: ClusterReport, ring: Ring, zone: tzinfo) -> Scene:
    """Look at a report. zone: of the times in sentences."""
    sightings = Sightings(report)
    devices = views(report, ring, sightings)
    return Scene(report, ring, zone, devices, _whole_nodes(devices), sightings, repairs(report.reports))


def _whole_nodes(devices: list[DeviceView]) -> dict[Condition, dict[str, list[DeviceView]]]:
    by_node: dict[str, list[DeviceView]] = {}
    for view in devices:
        by_node.setdefault(view.member.node, []).append(view)
    found: dict[Condition, dict[str, list[DeviceView]]] = {condition: {} for condition in Condition}
    for node, views_of_node in sorted(by_node.items()):
        conditions = {view.condition for view in views_of_node}
        if len(conditions) == 1:
            found[conditions.pop()][node] = views_of_node
    return found


def absent_nodes(scene: Scene) -> dict[str, list[DeviceView]]:
    """Nodes of which every device is unreachable."""
    return scene.whole[Condition.UNREACHABLE]


def causes_text(scene: Scene, numbers: Iterable[int]) -> str:
    """Why copies are missing: nodes that are gone whole, then devices, a few by name.

    "device d7 (node b, /srv/d7) is unreachable since 14:02"
    """
    ids = set(numbers)
    wanted = [view for view in scene.devices if view.member.id in ids]
    parts: list[str] = []
    for condition in (Condition.UNREACHABLE, Condition.UNKNOWN):
        nodes = {view.member.node for view in wanted}
        whole = {
            node: found
            for node, found in scene.whole[condition].items()
            if len(found) > 1 and node in nodes
        }
        parts += _nodes_text(scene, condition, whole)
        wanted = [view for view in wanted if view.member.node not in whole]
    parts += [f"{view.name} {_condition_text(scene, view)}" for view in wanted[:CAUSES_MAX]]
    if len(wanted) > CAUSES_MAX:
        parts.append(words.counted(len(wanted) - CAUSES_MAX, "more device"))
    return words.listed(parts)


def _nodes_text(
    scene: Scene, condition: Condition, whole: dict[str, list[DeviceView]]
) -> Iterator[str]:
    """One sentence for all nodes that went at the same minute for the same reason."""
    groups: dict[str, list[str]] = {}
    for node, found in whole.items():
        view = found[0]._replace(since_ns=earliest(found))
        groups.setdefault(_condition_text(scene, view), []).append(node)
    for text, nodes in groups.items():
        devices = words.counted(sum(len(whole[node]) for node in nodes), "device")
        if len(nodes) == 1:
            yield f"node {nodes[0]} {text} ({devices})"
        else:
            several = text.replace("is ", "are ", 1) if text.startswith("is ") else text
            yield f"nodes {words.listed(nodes, words.NAMES_MAX)} {several} ({devices})"


def _condition_text(scene: Scene, view: DeviceView) -> str:
    match view.condition:
        case Condition.UNREACHABLE:
            return f"is unreachable{scene.since(view.since_ns)}"
        case Condition.OFFLINE:
            return f"stopped serving: {view.why}"
        case Condition.UNKNOWN:
            return f"is silent: {view.why}"
        case Condition.SERVING:
            return "serves"


def earliest(found: Sequence[DeviceView]) -> int:
    """Since when the first of them is as it is; 0 for unknown."""
    return min((view.since_ns for view in found if view.since_ns), default=0)


_VERBS = {
    "rebuild": "rebuilding onto",
    "mend": "mending in",
    "rebalance": "moving blobs home on",
    "sync": "comparing rows on",
    "scrub": "reading everything again on",
    "collect": "removing garbage on",
    "expire": "removing what has expired on",
    "reshard": "splitting shards on",
    "repolicy": "rewriting objects on",
}


def progress_text(scene: Scene, repair: Repair) -> str:
    """ "rebuilding onto 5 devices at 180 MB/s, done about 14:31"."""
    verb = _VERBS.get(repair.name, f"{repair.name} works on")
    text = f"{verb} {words.counted(repair.places, 'device')}"
    if repair.rate_bytes_s:
        text += f" at {words.rate(repair.rate_bytes_s)}"
    if repair.ends_s:
        text += f", done about {scene.about(repair.ends_s)}"
    return text
