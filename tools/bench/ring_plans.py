"""What a process does with a large ring, beside serving: follow it, settle, look for what is astray.

Part of `atoll bench ring`. Nothing is stored: these are the plans alone, for one node of the ring in
the epoch in which a node more has joined.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from proxy.cluster.newcomers import newcomers
from proxy.core.placement import Placement
from proxy.repair.ring_change import needed
from ring.builder import apply, plan
from ring.draft import AddDevice, Draft
from ring.epochs import settled
from ring.file import decode, encode
from ring.lookup import Ring
from ring.types import ROWS, Device
from storage.contract import DeviceClient
from storage.device.unopened import UnopenedDevice
from storage.node import Progress

T = TypeVar("T")

REPLICAS_ASKED = 20_000


@dataclass(frozen=True)
class PlanTimes:
    """Seconds of one core, and counts, for one process of the ring.

    adopt_s: decode the ring's file and look up in it from then on. newcomers_s: which partitions are
    new on one node. replicas_us: the replicas of one partition, joint or not, unasked before.
    survey_s: who holds each partition, for all that one node may hold. decide_s: what the ring needs
    next, from the progress of every process.
    """

    partitions_moved: int
    partitions_of_node: int
    adopt_s: float
    newcomers_s: float
    replicas_us: float
    survey_s: float
    settled_s: float
    decide_s: float


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    value = work()
    return value, time.perf_counter() - started


def measure_plans(ring: Ring, added: list[Device]) -> PlanTimes:
    """ring: with rows alone; added: the devices of the node that joins."""
    draft = Draft(ring.epoch, tuple(map(AddDevice, added)))
    joint = apply(ring, plan(ring, draft, now_s=0))
    clients: dict[int, DeviceClient] = {
        member.id: UnopenedDevice(member.id, "not there") for member in joint.members
    }
    placement = Placement(ring, clients, {})
    data = encode(joint)
    _, adopt_s = _timed(lambda: placement.adopt(decode(data)))
    own = {device.id for device in added}
    _, newcomers_s = _timed(lambda: newcomers(joint, own))
    asked = range(min(REPLICAS_ASKED, joint.partition_count))
    _, replicas_s = _timed(lambda: [placement.replicas_of(partition) for partition in asked])
    held, survey_s = _timed(lambda: _survey(joint, own))
    _, settled_s = _timed(lambda: settled(joint))
    processes = {member.node for member in joint.members}
    progress = [Progress(joint.epoch)] * len(processes)
    _, decide_s = _timed(lambda: needed(joint, progress, balanced=False))
    return PlanTimes(
        partitions_moved=len(joint.steps[ROWS][-1]),
        partitions_of_node=held,
        adopt_s=round(adopt_s, 3),
        newcomers_s=round(newcomers_s, 4),
        replicas_us=round(replicas_s / len(asked) * 1e6, 2),
        survey_s=round(survey_s, 3),
        settled_s=round(settled_s, 3),
        decide_s=round(decide_s, 4),
    )


def _survey(ring: Ring, own: set[int]) -> int:
    """How many partition-replicas these devices hold, looked up one by one as the workers do."""
    partitions = range(ring.partition_count)
    return sum(len(own.intersection(ring.devices(ROWS, partition))) for partition in partitions)
