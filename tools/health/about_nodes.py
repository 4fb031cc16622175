"""What the nodes must have in common: keepers, clocks, versions, and that they reach each other."""

from collections.abc import Iterator
from typing import Any, Final

from storage.types import STAMP_AHEAD_MAX_S
from tools.finding import Finding, ok, problem, warning
from tools.health import words
from tools.health.report import Answered
from tools.health.scene import Scene, absent_nodes

SKEW_SAID_S: Final = 1.0
"""Clocks further apart than this are worth a word: somebody's NTP does not run."""

CUTS_MAX: Final = 5
"""How many broken links are told one by one."""


def about_nodes(scene: Scene) -> Iterator[Finding]:
    """All of it; nothing where all is well but the keepers."""
    yield from _keepers(scene)
    yield from _cuts(scene)
    yield from _clocks(scene)
    yield from _versions(scene)
    yield from _fsync(scene)


# ---- keepers -------------------------------------------------------------------------------------


def _keepers(scene: Scene) -> Iterator[Finding]:
    named = [set(report.keepers) for report in scene.report.reports if report.keepers]
    if not named:
        return
    names = _names_by_address(scene)
    keepers = sorted(set.union(*named))
    if any(one != named[0] for one in named):
        yield problem(
            "keepers",
            f"the nodes' configurations name different keepers ({words.listed(keepers)} in all): "
            "make `keepers` the same on every node",
        )
    there = {report.address for report in scene.report.reports if report.worker == 0}
    here = sorted(names.get(address, address) for address in keepers if address in there)
    away = sorted(names.get(address, address) for address in keepers if address not in there)
    majority = len(keepers) // 2 + 1
    if len(here) < majority:
        yield problem(
            "keepers",
            f"{len(here)} of {len(keepers)} keepers answer (not {words.listed(away)}): requests are "
            f"served, but the ring can't change until {majority} do. Start them",
        )
    elif away:
        yield warning(
            "keepers",
            f"{len(here)} of {len(keepers)} keepers answer, enough to change the ring; "
            f"{words.listed(away)} should be brought back",
        )
    elif len(keepers) > 1:
        yield ok("keepers", f"all {len(keepers)} keepers answer ({words.listed(here)})")


def _names_by_address(scene: Scene) -> dict[str, str]:
    """Nodes by where others connect to them, those of the ring and those that answered."""
    known = {member.address: member.node for member in scene.ring.members}
    return known | {report.address: report.node for report in scene.report.reports}


# ---- links ---------------------------------------------------------------------------------------


def _cuts(scene: Scene) -> Iterator[Finding]:
    """Pairs of processes that both answered, of which one does not reach the other."""
    answered = {(report.node, report.worker) for report in scene.report.reports}
    cuts = [
        (report, peer)
        for report in scene.report.reports
        for peer in report.unreached
        if (peer.node, peer.worker) in answered
    ]
    for report, peer in cuts[:CUTS_MAX]:
        yield problem(
            "network",
            f"worker {report.worker} of node {report.node} does not reach worker {peer.worker} of node "
            f"{peer.node}{scene.since(peer.since_ns)} ({peer.why}), though both answer here: look at "
            "the network between them",
        )
    if len(cuts) > CUTS_MAX:
        yield problem("network", f"{len(cuts) - CUTS_MAX} more links are broken like that")


# ---- clocks --------------------------------------------------------------------------------------


def offsets(scene: Scene) -> dict[str, Answered]:
    """Of each node the answer that measured its clock best."""
    best: dict[str, Answered] = {}
    for answered in scene.report.processes:
        node = answered.report.node
        if node not in best or answered.error_s < best[node].error_s:
            best[node] = answered
    return best


def _clocks(scene: Scene) -> Iterator[Finding]:
    for node, answered in sorted(offsets(scene).items()):
        sure_s = abs(answered.offset_s) - answered.error_s
        if sure_s <= SKEW_SAID_S:
            continue
        way = "ahead of" if answered.offset_s > 0 else "behind"
        text = (
            f"the clock of node {node} is {words.seconds(answered.offset_s)} {way} that of node "
            f"{scene.report.node} (± {words.seconds(answered.error_s)})"
        )
        if sure_s >= STAMP_AHEAD_MAX_S:
            limit = f"{STAMP_AHEAD_MAX_S:.0f} s"
            yield problem("clock", f"{text}: writes over {limit} ahead are refused. Set it, start NTP")
        else:
            yield warning("clock", f"{text}. Start NTP on both")


# ---- versions ------------------------------------------------------------------------------------


def versions(scene: Scene) -> dict[str, list[str]]:
    """Nodes by the release that they run."""
    found: dict[str, set[str]] = {}
    for report in scene.report.reports:
        found.setdefault(report.version, set()).add(report.node)
    return {version: sorted(nodes) for version, nodes in sorted(found.items())}


def _versions(scene: Scene) -> Iterator[Finding]:
    found = versions(scene)
    if len(found) > 1:
        parts = [f"{version or 'unknown'} on {words.listed(nodes)}" for version, nodes in found.items()]
        yield warning(
            "version",
            f"the nodes run different releases: {'; '.join(parts)}. Fine during an upgrade; finish it",
        )


def _fsync(scene: Scene) -> Iterator[Finding]:
    for report in scene.report.reports:
        if report.fsync != "on":
            yield problem(
                "fsync",
                f"fsync is {report.fsync} on node {report.node}: acknowledged writes can be lost when "
                "power fails",
            )
            return


# ---- facts ---------------------------------------------------------------------------------------


def facts_of(scene: Scene) -> dict[str, Any]:
    """Nodes, clocks, versions."""
    return {
        "nodes": {"total": len(scene.nodes()), "unreachable": sorted(absent_nodes(scene))},
        "processes": {
            "answered": len(scene.report.processes),
            "silent": len(scene.report.silent),
        },
        "versions": versions(scene),
        "clock_offset_s": {
            node: round(answered.offset_s, 6) for node, answered in sorted(offsets(scene).items())
        },
    }
