"""What this process says of itself: gathers a `ProcessReport` from memory, at once.

The parts that it asks are handed in one by one as the worker makes them; what is not there yet says
nothing.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec

from proxy.admission import AdmissionStatus
from proxy.core.guard import GuardStatus
from proxy.repair.contract import WorkerStatus
from ring.lookup import Ring
from runtime.clock import Clock
from runtime.release import release
from runtime.telemetry import Telemetry
from storage.contract import DeviceClient
from storage.device.config import DeviceStatus
from storage.node import Progress
from storage.wire.server import TellsStatus
from tools.health.report import Census, ProcessReport, encode
from tools.reach import ProcessName, Reach


class Reporter:
    """Speaks for one process. owned: its devices, as they come and go."""

    def __init__(
        self,
        who: ProcessName,
        ring: Callable[[], Ring],
        owned: Mapping[int, DeviceClient],
        reach: Reach,
        telemetry: Telemetry,
        clock: Clock,
        address: str = "",
        keepers: Sequence[str] = (),
    ) -> None:
        self.who = who
        self.ring = ring
        self.reach = reach
        self.telemetry = telemetry
        self.clock = clock
        self.owned = owned
        self._address = address
        self._keepers = list(keepers)
        self._version = release()
        self._started_ns = clock.now_ns()
        self._on: dict[int, int] = {}
        self.guards: Callable[[], list[GuardStatus]] = list
        self.repair: Callable[[], list[WorkerStatus]] = list
        self.progress: Callable[[], Progress] = lambda: Progress(ring().epoch)
        self.census: Callable[[], Census | None] = lambda: None
        self.queues: Callable[[], dict[str, int]] = dict
        self.quorums: Callable[[], dict[str, int]] = dict
        self.admission: Callable[[], AdmissionStatus | None] = lambda: None

    def report(self) -> ProcessReport:
        """All of it, as it is now."""
        return ProcessReport(
            worker=self.who.worker,
            pid=os.getpid(),
            rss_bytes=_rss_bytes(),
            devices=dict(self._devices()),
            counts=self.telemetry.counts,
            node=self.who.node,
            version=self._version,
            now_ns=self.clock.now_ns(),
            started_ns=self._started_ns,
            epoch=self.ring().epoch,
            address=self._address,
            keepers=self._keepers,
            peers=self.reach.peers,
            unreached=self.reach.unreached(),
            unreached_count=self.reach.unreached_count,
            round_trip_s=self.reach.round_trip_s,
            guards=[guard for guard in self.guards() if guard.opened],
            repair=self.repair(),
            moving=self.progress(),
            census=self.census(),
            queues=self.queues(),
            quorums=self.quorums(),
            admission=self.admission(),
            file_systems=self._file_systems(),
        )

    def report_bytes(self) -> bytes:
        """The same as it travels."""
        return encode(self.report())

    def _file_systems(self) -> dict[int, int]:
        """Each looked up once."""
        members = self.ring().members
        for member in members if self.owned.keys() - self._on else ():
            if member.id in self.owned and member.id not in self._on:
                with suppress(OSError):
                    self._on[member.id] = os.stat(member.path).st_dev
        return {number: self._on[number] for number in self.owned if number in self._on}

    def _devices(self) -> list[tuple[int, DeviceStatus]]:
        statuses = [
            (number, device.status())
            for number, device in self.owned.items()
            if isinstance(device, TellsStatus)
        ]
        return [(number, status) for number, status in statuses if isinstance(status, DeviceStatus)]


def _rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def without_census(report: ProcessReport) -> ProcessReport:
    """For people: the count of every partition is for machines."""
    return msgspec.structs.replace(report, census=None)
