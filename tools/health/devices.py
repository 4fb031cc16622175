"""In what condition each device of the ring is, by what the processes report.

A device speaks through its process. Where that is silent, what the others have found decides: if none
of them reaches it, it is unreachable; if one does, only the way from here is cut, and what the device
holds is not known here.
"""

import enum
from typing import NamedTuple

from ring.lookup import Ring
from ring.types import Device, DeviceState
from storage.device.config import DeviceStatus
from tools.health.report import ClusterReport, ProcessReport, Silent, Unreached
from tools.health.words import listed


class Condition(enum.StrEnum):
    """What can be said of a device."""

    SERVING = "serving"
    OFFLINE = "offline"
    """Its process answers and says that the device does not serve."""
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"
    """Not heard of here, but others hear of it."""


class DeviceView(NamedTuple):
    """One device of the ring. since_ns: of its condition where that is bad, 0 for unknown. worker: the
    process that owns it, None where nobody has said so."""

    member: Device
    condition: Condition
    since_ns: int = 0
    why: str = ""
    status: DeviceStatus | None = None
    worker: int | None = None

    @property
    def serving(self) -> bool:
        """Whether it answers requests."""
        return self.condition is Condition.SERVING

    @property
    def name(self) -> str:
        """As sentences call it: device d7 (node b, /srv/d7)."""
        return f"device d{self.member.id} (node {self.member.node}, {self.member.path})"


def views(report: ClusterReport, ring: Ring) -> list[DeviceView]:
    """Every device of the ring, by id."""
    said = {
        number: (process, status)
        for process in report.reports
        for number, status in process.devices.items()
    }
    found = []
    for member in sorted(ring.members, key=lambda device: device.id):
        if member.id in said:
            found.append(_heard(member, *said[member.id]))
        else:
            found.append(_unheard(member, report))
    return found


def _heard(member: Device, process: ProcessReport, status: DeviceStatus) -> DeviceView:
    condition = Condition.OFFLINE if status.offline else Condition.SERVING
    return DeviceView(member, condition, 0, status.offline, status, process.worker)


def _unheard(member: Device, report: ClusterReport) -> DeviceView:
    """A device that no report is about."""
    silent = [process for process in report.silent if process.node == member.node]
    owner = _owner(member, silent, report)
    if owner is not None:
        silent = [process for process in silent if process.worker == owner]
    if not silent:
        if any(process.node == member.node for process in report.reports):
            why = f"no process of node {member.node} serves it"
            return DeviceView(member, Condition.OFFLINE, 0, why)
        why = f"nobody here knows node {member.node}"
        return DeviceView(member, Condition.UNKNOWN, 0, why)
    nodes = sorted({node for process in silent for node in reached_by(report, process)})
    if nodes:
        why = f"no answer here, though {nodes_reach(nodes)} it"
        return DeviceView(member, Condition.UNKNOWN, 0, why, None, owner)
    since = min((since_ns(report, process) for process in silent), default=0)
    return DeviceView(member, Condition.UNREACHABLE, since, silent[0].why, None, owner)


def _owner(member: Device, silent: list[Silent], report: ClusterReport) -> int | None:
    """The silent process that served the device when somebody last heard of it."""
    for process in silent:
        if any(member.id in peer.devices for peer in sightings(report, process)):
            return process.worker
    return silent[0].worker if len(silent) == 1 else None


def sightings(report: ClusterReport, process: Silent) -> list[Unreached]:
    """What those say who answered and do not reach a silent process either."""
    return [
        unreached
        for other in report.reports
        for unreached in other.unreached
        if (unreached.node, unreached.worker) == (process.node, process.worker)
    ]


def reached_by(report: ClusterReport, process: Silent) -> list[str]:
    """The nodes that reach a process which is silent here. That the asker pinged it a moment ago counts
    for nothing: it has just asked in vain."""
    name, asker = (process.node, process.worker), (report.node, report.worker)
    return sorted(
        {
            other.node
            for other in report.reports
            if other.peers
            and (other.node, other.worker) != asker
            and all((unreached.node, unreached.worker) != name for unreached in other.unreached)
        }
    )


def since_ns(report: ClusterReport, process: Silent) -> int:
    """Since when nobody reaches a silent process; 0 where somebody does, or nobody can tell."""
    if reached_by(report, process):
        return 0
    return min((unreached.since_ns for unreached in sightings(report, process)), default=0)


def nodes_reach(nodes: list[str]) -> str:
    """ "node c reaches", "nodes c and d reach"."""
    return f"node {nodes[0]} reaches" if len(nodes) == 1 else f"nodes {listed(nodes)} reach"


def lost(view: DeviceView) -> bool:
    """Whether the operator has given the device up."""
    return view.member.state is DeviceState.LOST
