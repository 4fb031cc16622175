"""What the processes of a cluster say to each other beside device calls: rings, progress, reports.

`NodeService` is what a process offers its peers, `NodeClient` the same asked of a peer. The node
protocol carries them (`storage/wire`); the worker's wiring and `proxy/cluster` stand behind them.
"""

from typing import Final, Protocol

import msgspec

KEEPER_DEVICE: Final = -1
"""The device id under which worker 0 of a keeper node serves its `KeeperDevice`."""


class NodeFacts(msgspec.Struct, frozen=True, array_like=True, tag=70):
    """Who a process is. It stays so while the process lives.

    workers: the node's processes; process i listens on the node's port + i. owners: which process
    owns each device that the node had when it started; a later one is owned by process id % workers.
    """

    node: str
    worker: int
    workers: int
    owners: dict[int, int]

    def owner(self, device_id: int) -> int:
        """The process of this node that serves a device of it."""
        return self.owners.get(device_id, device_id % self.workers)


class Progress(msgspec.Struct, frozen=True, array_like=True, tag=71):
    """How far the devices of one process are with a ring change.

    settled, unsettled: row partition-replicas that are newcomers in this epoch, with and without all
    rows; where the epoch moves none, unsettled are devices that have not been looked through in it yet,
    whose leftovers and misplaced blobs nobody knows. leftovers: shards on devices where the ring does
    not place them. misplaced: blobs away from home, and their bytes.
    """

    epoch: int
    settled: int = 0
    unsettled: int = 0
    leftovers: int = 0
    misplaced: int = 0
    misplaced_bytes: int = 0


class NodeService(Protocol):
    """What a process offers its peers. Every method answers at once, from memory."""

    @property
    def epoch(self) -> int:
        """The ring epoch in use, whose ring is durable here: row calls of any other one are refused.

        `fence.CLOSED` while the process goes from one to the next: all are.
        """

    def facts(self) -> NodeFacts:
        """Who this process is."""

    def ring_bytes(self) -> bytes:
        """The ring of `epoch` as a ring file's bytes; empty where there is none yet."""

    def progress(self) -> Progress:
        """How far this process's devices are."""

    def report(self) -> bytes:
        """What the admin side wants to know of this process, in a form of its own."""

    def heard_of_newer(self) -> None:
        """A peer's call came from a newer epoch: fetch the ring soon. Called for every such call."""


class NodeClient(Protocol):
    """One peer process. Every call raises DeviceFault where it has no answer by its deadline."""

    async def facts(self, deadline: float) -> NodeFacts:
        """Who it is."""

    async def ring(self, newer_than: int, deadline: float) -> bytes:
        """Its ring, where its epoch is above `newer_than`; b"" for none."""

    async def progress(self, deadline: float) -> Progress:
        """How far its devices are."""

    async def report(self, deadline: float) -> bytes:
        """What it says of itself for the admin side."""


class LoneNode:
    """The service of a process that knows no ring: for tests, and before the first ring."""

    def __init__(self) -> None:
        self.epoch = 0

    def facts(self) -> NodeFacts:
        return NodeFacts("", 0, 1, {})

    def ring_bytes(self) -> bytes:
        return b""

    def progress(self) -> Progress:
        return Progress(self.epoch)

    def report(self) -> bytes:
        return b""

    def heard_of_newer(self) -> None:
        """There is nothing to fetch."""
