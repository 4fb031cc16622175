"""In what condition each device of the ring is, by what the processes report.

A device speaks through its process; but where half of all processes have given up waiting for it, it is
not there whatever it says of itself: its disk hangs. Where its process is silent, what the others have
found decides: if none of them reaches it, the device is unreachable; if one does, only the way from
here is cut, and what the device holds is not known here.
"""

import enum
from collections.abc import Sequence
from typing import NamedTuple

from proxy.core.breaker import State
from proxy.core.guard import GuardStatus
from ring.lookup import Ring
from ring.types import Device, DeviceState
from storage.device.config import DeviceStatus
from tools.health.report import ClusterReport, ProcessReport, Silent
from tools.health.sightings import Sightings
from tools.health.words import NAMES_MAX, listed


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


def views(report: ClusterReport, ring: Ring, sightings: Sightings) -> list[DeviceView]:
    """Every device of the ring, by id."""
    said = {
        number: (process, status)
        for process in report.reports
        for number, status in process.devices.items()
    }
    nodes, open_guards = _Nodes(report), _open_guards(report)
    found = []
    for member in sorted(ring.members, key=lambda device: device.id):
        if member.id in said:
            view = _heard(member, *said[member.id])
            guards = open_guards.get(member.id, [])
            given_up = len(guards) * 2 >= len(report.processes) and guards and view.serving
            found.append(_given_up(view, guards) if given_up else view)
        else:
            found.append(_unheard(member, nodes, sightings))
    return found


class _Nodes:
    """Which nodes have processes that answered, and which silent ones."""

    def __init__(self, report: ClusterReport) -> None:
        self.answered = {process.node for process in report.reports}
        self.silent: dict[str, list[Silent]] = {}
        for process in report.silent:
            self.silent.setdefault(process.node, []).append(process)


def _heard(member: Device, process: ProcessReport, status: DeviceStatus) -> DeviceView:
    condition = Condition.OFFLINE if status.offline else Condition.SERVING
    return DeviceView(member, condition, 0, status.offline, status, process.worker)


def _open_guards(report: ClusterReport) -> dict[int, list[GuardStatus]]:
    """By device, what those say who do not wait for it any more."""
    found: dict[int, list[GuardStatus]] = {}
    for process in report.reports:
        for guard in process.guards:
            if guard.state == State.OPEN:
                found.setdefault(guard.device_id, []).append(guard)
    return found


def _given_up(view: DeviceView, guards: list[GuardStatus]) -> DeviceView:
    since_ns = min(guard.since_ns for guard in guards)
    why = f"its process answers, but it does not ({guards[0].why or 'no answer'}); its disk may hang"
    return view._replace(condition=Condition.UNREACHABLE, since_ns=since_ns, why=why)


def _unheard(member: Device, nodes: _Nodes, sightings: Sightings) -> DeviceView:
    """A device that no report is about."""
    silent = nodes.silent.get(member.node, [])
    owner = _owner(member, silent, sightings)
    if owner is not None:
        silent = [process for process in silent if process.worker == owner]
    if not silent:
        if member.node in nodes.answered:
            why = f"no process of node {member.node} serves it"
            return DeviceView(member, Condition.OFFLINE, 0, why)
        why = f"nobody here knows node {member.node}"
        return DeviceView(member, Condition.UNKNOWN, 0, why)
    seen = [sightings.of(process) for process in silent]
    reaching = sorted({node for one in seen for node in one.reached_by})
    if reaching:
        why = f"no answer here, though {nodes_reach(reaching)} it"
        return DeviceView(member, Condition.UNKNOWN, 0, why, None, owner)
    since = min(one.since_ns for one in seen)
    return DeviceView(member, Condition.UNREACHABLE, since, silent[0].why, None, owner)


def _owner(member: Device, silent: list[Silent], sightings: Sightings) -> int | None:
    """The silent process that served the device when somebody last heard of it."""
    for process in silent:
        if member.id in sightings.of(process).devices:
            return process.worker
    return silent[0].worker if len(silent) == 1 else None


def nodes_reach(nodes: Sequence[str]) -> str:
    """ "node c reaches", "nodes c and d reach"."""
    return f"node {nodes[0]} reaches" if len(nodes) == 1 else f"nodes {listed(nodes, NAMES_MAX)} reach"


def lost(view: DeviceView) -> bool:
    """Whether the operator has given the device up."""
    return view.member.state is DeviceState.LOST
