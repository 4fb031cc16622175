"""Since when a process has not reached each of its peers: the memory behind "unreachable since 14:02".

Every peer is pinged in turn, evenly spread and at most PINGS_PER_S, so that a process of a large
cluster does not spend its time on it. What is remembered lives as long as the process.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from runtime.clock import Clock
from storage.contract import DeviceFault
from storage.wire.messages import Pong
from tools.health.report import Unreached

ROUND_S: Final = 3.0
"""Each peer is pinged about this often, while there are few."""

MISSES_MIN: Final = 2
"""So many pings in a row must fail: one may have met a process just as it restarted."""

NAMED_MAX: Final = 200
"""A report names so many that are not reached: where half of a large cluster is away, each would."""

PINGS_PER_S: Final = 100.0

PING_TIME_S: Final = 2.0
"""A peer that takes longer is not reached: its requests would wait as well."""


class ProcessName(NamedTuple):
    """Which process of the cluster."""

    node: str
    worker: int


class Pinged(Protocol):
    """A peer, as far as this module asks it."""

    async def ping(self, deadline: float) -> Pong:
        """Its release, epoch and devices. Raises DeviceFault."""


Peers = Callable[[], Mapping[ProcessName, Pinged]]
"""All peers that there are now."""


class _Seen:
    """One peer. misses: pings in a row that failed; since_ns: wall clock of the first of them."""

    def __init__(self) -> None:
        self.misses = 0
        self.since_ns = 0
        self.why = ""
        self.devices: list[int] = []
        self.round_trip_s = 0.0


class Reach:
    """Pings all peers for ever and remembers."""

    def __init__(self, peers: Peers, clock: Clock) -> None:
        self._peers = peers
        self._clock = clock
        self._seen: dict[ProcessName, _Seen] = {}

    async def run(self) -> None:
        """For ever; to be cancelled."""
        while True:
            await self.round()

    async def round(self) -> None:
        """Ping each peer once. A slow one delays no other."""
        peers = dict(self._peers())
        self._seen = {name: self._seen.get(name) or _Seen() for name in peers}
        pause_s = max(ROUND_S / max(1, len(peers)), 1 / PINGS_PER_S)
        async with asyncio.TaskGroup() as group:
            for name, peer in peers.items():
                group.create_task(self._ping(self._seen[name], peer))
                await asyncio.sleep(pause_s)
        if not peers:
            await asyncio.sleep(ROUND_S)

    async def _ping(self, seen: _Seen, peer: Pinged) -> None:
        began, began_ns = self._clock.monotonic(), self._clock.now_ns()
        try:
            pong = await peer.ping(began + PING_TIME_S)
        except DeviceFault as fault:
            seen.misses += 1
            seen.since_ns = seen.since_ns or began_ns
            seen.why = fault.text or str(fault)
            return
        seen.misses = seen.since_ns = 0
        seen.why = ""
        seen.devices = pong.devices
        seen.round_trip_s = self._clock.monotonic() - began

    @property
    def peers(self) -> int:
        """How many there are."""
        return len(self._seen)

    @property
    def round_trip_s(self) -> float:
        """Of the slowest peer that was reached."""
        return max((seen.round_trip_s for seen in self._seen.values() if not seen.misses), default=0.0)

    def unreached(self) -> list[Unreached]:
        """Those that did not answer the last pings; the first NAMED_MAX."""
        return [
            Unreached(
                node=name.node,
                worker=name.worker,
                since_ns=seen.since_ns,
                why=seen.why,
                devices=seen.devices,
            )
            for name, seen in self._missed()[:NAMED_MAX]
        ]

    @property
    def unreached_count(self) -> int:
        """How many of them there are."""
        return len(self._missed())

    def _missed(self) -> list[tuple[ProcessName, _Seen]]:
        return [item for item in sorted(self._seen.items()) if item[1].misses >= MISSES_MIN]
