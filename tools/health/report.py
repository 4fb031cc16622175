"""What processes say of themselves, and what one of them gathers of all: the typed report.

A process answers for what it owns and for what it has seen of its peers. Reports travel as JSON between
releases that may differ: fields are only ever added, each with a default.
"""

import zlib
from typing import Any

import msgspec
import numpy as np

from proxy.admission import AdmissionStatus
from proxy.core.guard import GuardStatus
from proxy.repair.contract import WorkerStatus
from ring.types import IntArray
from runtime.telemetry import Counts
from storage.device.config import DeviceStatus
from storage.node import Progress


class Unreached(msgspec.Struct, frozen=True, kw_only=True):
    """A peer that a process does not reach, and why. since_ns: wall clock. devices: those the peer
    served when it last answered."""

    node: str
    worker: int
    since_ns: int
    why: str = ""
    devices: list[int] = []


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """How many objects (placement "rows") or blobs (a policy) a process's devices hold, by partition:
    the most that one of them has.

    partitions, things: arrays of the same length, as `pack` makes them. A partition that is not among
    them was not counted; one that holds nothing has its zero.
    """

    placement: str
    partitions: bytes
    things: bytes


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """The last count of all that a process's devices hold. part_power: in which it was counted."""

    taken_ns: int
    part_power: int
    held: list[Held]


class ProcessReport(msgspec.Struct, kw_only=True):
    """What one process says of itself and of its peers.

    now_ns: its wall clock when it answered. epoch: of the ring that it serves by. address: of its node
    in the cluster; keepers: those of the nodes that its configuration names. peers: how many processes
    it pings; it reaches all but `unreached`, the slowest in round_trip_s. unreached_count: where those
    are too many to name. guards: devices whose breaker has opened. quorums: row operations by
    "operation outcome". admission: of the requests of its public port. file_systems: of devices by id,
    a number of the one that each is on, if it could be told: devices that are folders share their room.
    """

    worker: int
    pid: int
    rss_bytes: int
    devices: dict[int, DeviceStatus]
    counts: Counts
    node: str = ""
    version: str = ""
    now_ns: int = 0
    started_ns: int = 0
    epoch: int = 0
    fsync: str = "on"
    address: str = ""
    keepers: list[str] = []
    peers: int = 0
    unreached: list[Unreached] = []
    unreached_count: int = 0
    round_trip_s: float = 0.0
    repair: list[WorkerStatus] = []
    moving: Progress = Progress(0)
    guards: list[GuardStatus] = []
    census: Census | None = None
    queues: dict[str, int] = {}
    quorums: dict[str, int] = {}
    admission: AdmissionStatus | None = None
    file_systems: dict[int, int] = {}


class Answered(msgspec.Struct, kw_only=True):
    """A process's report as it was received. offset_s: its clock minus the asker's; it is that much or
    up to error_s more or less, half of the time that the answer took."""

    report: ProcessReport
    offset_s: float = 0.0
    error_s: float = 0.0


class Silent(msgspec.Struct, frozen=True, kw_only=True):
    """A process that gave no report, and why."""

    node: str
    worker: int
    why: str


class ClusterReport(msgspec.Struct, kw_only=True):
    """What one process has gathered of all. node, worker: the asker's; now_ns: its wall clock."""

    node: str
    worker: int
    endpoint: str
    now_ns: int
    processes: list[Answered] = []
    silent: list[Silent] = []

    @property
    def reports(self) -> list[ProcessReport]:
        """Those that answered."""
        return [answered.report for answered in self.processes]


def pack(values: IntArray) -> bytes:
    """Numbers below 2^32: little-endian uint32, then zlib, because runs of them are much alike."""
    return zlib.compress(values.astype("<u4").tobytes(), 1)


def unpack(data: bytes, count_max: int) -> IntArray:
    """The numbers again. Raises ValueError for what is none, or more than `count_max`."""
    expand = zlib.decompressobj()
    try:
        raw = expand.decompress(data, 4 * count_max)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if expand.unconsumed_tail or len(raw) % 4:
        raise ValueError("too many numbers, or half a number")
    return np.frombuffer(raw, dtype="<u4").astype(np.int64)


def decode_report(body: bytes) -> ProcessReport:
    """Raises msgspec.MsgspecError for what is no report, or one of a release too different."""
    return msgspec.json.decode(body, type=ProcessReport)


def encode(report: Any) -> bytes:
    """Any of the above as JSON."""
    return msgspec.json.encode(report)
