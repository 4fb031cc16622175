"""What those who answered know of those who did not: who reaches them, and since when nobody does."""

from typing import NamedTuple

from tools.health.report import ClusterReport, ProcessReport, Silent, Unreached


class Sighting(NamedTuple):
    """Of one silent process. reached_by: nodes that do reach it. since_ns: since when nobody does, 0
    where somebody does or nobody can tell. devices: those that it served when it was last heard."""

    reached_by: tuple[str, ...]
    since_ns: int
    devices: frozenset[int]


class Sightings:
    """All of a report's, put in order once."""

    def __init__(self, report: ClusterReport) -> None:
        asker = (report.node, report.worker)
        # That the asker pinged a process a moment ago counts for nothing: it has just asked in vain.
        # A list that was cut says nothing of those who are not on it.
        self._witnesses = [
            other
            for other in report.reports
            if other.peers and (other.node, other.worker) != asker and _whole(other)
        ]
        self._known: dict[tuple[str, int], list[tuple[int, Unreached]]] = {}
        for other in report.reports:
            for unreached in other.unreached:
                key = (unreached.node, unreached.worker)
                self._known.setdefault(key, []).append((id(other), unreached))
        self._found: dict[tuple[str, int], Sighting] = {}

    def of(self, process: Silent) -> Sighting:
        """What is known of a silent process."""
        key = (process.node, process.worker)
        if key not in self._found:
            self._found[key] = self._look(self._known.get(key, []))
        return self._found[key]

    def _look(self, known: list[tuple[int, Unreached]]) -> Sighting:
        missed_by = {reporter for reporter, _ in known}
        nodes = {other.node for other in self._witnesses if id(other) not in missed_by}
        since_ns = 0 if nodes else min((seen.since_ns for _, seen in known), default=0)
        devices = frozenset(number for _, seen in known for number in seen.devices)
        return Sighting(tuple(sorted(nodes)), since_ns, devices)


def _whole(report: ProcessReport) -> bool:
    """Whether its list of those it does not reach has all of them."""
    return report.unreached_count <= len(report.unreached)
