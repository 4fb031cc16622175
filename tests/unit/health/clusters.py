"""Clusters on paper: a ring of four nodes with three devices each, and what its processes report."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from ring.builder import build
from ring.lookup import Ring
from ring.types import ROWS, Device, Placement
from runtime.telemetry import Counts
from storage.device.config import DeviceStatus
from tools.health.report import (
    Answered,
    Census,
    ClusterReport,
    Held,
    ProcessReport,
    Silent,
    Unreached,
    pack,
)

NOW_NS = int(datetime(2026, 11, 23, 14, 20, tzinfo=UTC).timestamp()) * 10**9
SINCE_NS = NOW_NS - 18 * 60 * 10**9
"""14:02"""
NODES = "abcd"
PER_NODE = 3
POWER = 6
PER_PARTITION = 10

WELL = DeviceStatus(
    device_id=0,
    incarnation="00" * 16,
    offline="",
    full=False,
    free_bytes=10 << 30,
    journal_segments=1,
    journal_bytes=1000,
    live_bytes=900,
    index_bytes=32768,
    unindexed_rows=3,
    checkpoint_age_s=0.5,
    sync_latency_s=0.001,
    corrupt_count=0,
    replayed_rows=0,
    notes=(),
)


def ring_of(nodes: str = NODES, per_node: int = PER_NODE, ec: bool = True) -> Ring:
    """Device 3 * n + i is the i-th of node n; each node is a zone of its own."""
    members = [
        Device(
            number,
            f"{number + 1:032x}",
            "r1",
            f"z{node}",
            node,
            address_of(node),
            f"/srv/d{number}",
            1.0,
        )
        for number, node in enumerate(node for node in nodes for _ in range(per_node))
    ]
    placements = [Placement(ROWS, 3), Placement("replicated-3", 3)]
    if ec:
        placements.append(Placement("ec-4-2", 6))
    return build(members, placements, POWER, 7, cluster_id="0" * 32)


def address_of(node: str) -> str:
    """Of its first worker."""
    return f"127.0.0.{ord(node)}:7000"


RING = ring_of()


def held(
    ring: Ring, devices: Iterable[int], placement: str, per_partition: int = PER_PARTITION
) -> Held:
    """A process's count where each partition of its devices holds so many things."""
    mine = np.flatnonzero(np.isin(ring.tables[placement], list(devices)).any(axis=0))
    things = np.full(len(mine), per_partition)
    return Held(placement=placement, partitions=pack(mine), things=pack(things))


class Cluster:
    """A report in the making: everything well, then what the test changes. One process per node."""

    def __init__(self, ring: Ring = RING, asker: str = "a") -> None:
        self.ring = ring
        self.asker = asker
        self.names = sorted({member.node for member in ring.members})
        self.processes = {name: self._process(name) for name in self.names}
        self.silent: list[Silent] = []
        self.offsets: dict[str, tuple[float, float]] = {}

    def _process(self, node: str) -> ProcessReport:
        mine = [member.id for member in self.ring.members if member.node == node]
        census = Census(
            taken_ns=NOW_NS,
            part_power=self.ring.part_power,
            held=[held(self.ring, mine, placement.name) for placement in self.ring.placements],
        )
        return ProcessReport(
            worker=0,
            pid=100,
            rss_bytes=50 << 20,
            devices={number: status(device_id=number) for number in mine},
            counts=Counts({}, {}),
            node=node,
            address=address_of(node),
            version="1.0",
            now_ns=NOW_NS,
            epoch=self.ring.epoch,
            peers=len(self.names) - 1,
            round_trip_s=0.001,
            census=census,
        )

    def devices_of(self, node: str) -> list[int]:
        return [member.id for member in self.ring.members if member.node == node]

    def change(self, node: str, **changes: Any) -> "Cluster":
        """Fields of a process's report."""
        self.processes[node] = msgspec.structs.replace(self.processes[node], **changes)
        return self

    def device(self, number: int, **changes: Any) -> "Cluster":
        """Fields of a device's status."""
        self.processes[self.ring.device(number).node].devices[number] = status(
            device_id=number, **changes
        )
        return self

    def down(self, *nodes: str, since_ns: int = SINCE_NS, why: str = "no route") -> "Cluster":
        """Nodes that nobody reaches."""
        for node in nodes:
            self.silence(node, why)
            self._sight(node, since_ns, why, self.names)
        return self

    def silence(self, node: str, why: str = "no answer in 5 s") -> "Cluster":
        """A node that does not answer here; the others go on reaching it."""
        del self.processes[node]
        self.silent.append(Silent(node=node, worker=0, why=why))
        return self

    def cut(self, one: str, other: str, since_ns: int = SINCE_NS) -> "Cluster":
        """`one` does not reach `other`, who answers others."""
        self._sight(other, since_ns, "timed out", [one])
        return self

    def _sight(self, node: str, since_ns: int, why: str, by: Iterable[str]) -> None:
        for name in by:
            if name in self.processes:
                seen = Unreached(
                    node=node, worker=0, since_ns=since_ns, why=why, devices=self.devices_of(node)
                )
                self.change(name, unreached=[*self.processes[name].unreached, seen])

    def every(self, make: Callable[[str], Mapping[str, Any]]) -> "Cluster":
        """Change all processes."""
        for name in list(self.processes):
            self.change(name, **make(name))
        return self

    @property
    def report(self) -> ClusterReport:
        return ClusterReport(
            node=self.asker,
            worker=0,
            endpoint="http://127.0.0.1:8080",
            now_ns=NOW_NS,
            processes=[
                Answered(
                    report=self.processes[name],
                    offset_s=self.offsets.get(name, (0.0, 0.001))[0],
                    error_s=self.offsets.get(name, (0.0, 0.001))[1],
                )
                for name in sorted(self.processes)
            ],
            silent=self.silent,
        )


def status(**changes: Any) -> DeviceStatus:
    """A device that is well but for `changes`."""
    return msgspec.convert({**msgspec.to_builtins(WELL), **changes}, DeviceStatus)
