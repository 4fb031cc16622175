"""All other processes that one worker asks: the workers of its own node, and the other nodes.

Workers of this node are asked over Unix sockets, and blobs of their devices through files; other nodes
over TCP, with TLS where the configuration has certificates. Which nodes there are is what the ring and
the list of keepers say: `adopt` connects to new ones and leaves those that are gone.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ring.lookup import Ring
from ring.types import Device as Member
from runtime.certificate import NodeCertificate
from runtime.clock import Clock
from runtime.config import Config, host_and_port
from runtime.disk import Disk
from runtime.randomness import Randomness
from runtime.release import release
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient, DeviceFault
from storage.device.unopened import UnopenedDevice
from storage.node import KEEPER_DEVICE, NodeFacts
from storage.wire.client import Peer, WireDevice
from storage.wire.connection import Address, TcpAddress, UnixAddress
from storage.wire.local_files import LocalFiles
from tools.reach import ProcessName
from tools.remote_node import RemoteDevice, RemoteNode

SIBLINGS_WITHIN_S: Final = 5.0
"""A starting worker listens once its node's other workers are there, or after this long without."""

NODES_WITHIN_S: Final = 1.0
"""The same for other nodes; shorter, because one that is away may stay so."""

FILE_THREADS: Final = 8
"""Threads for the blob files of devices that other workers own."""


def socket_name(worker: int) -> str:
    """A worker's socket, relative to the run directory, because socket paths are short."""
    return f"w{worker}.sock"


class Peers:
    """Connections to all other processes. me: who this one is."""

    def __init__(
        self,
        config: Config,
        me: NodeFacts,
        secret: bytes,
        certificate: NodeCertificate | None,
        disk: Disk,
        clock: Clock,
        randomness: Randomness,
        tasks: TaskOwner,
    ) -> None:
        self._config = config
        self._me = me
        self._secret = secret
        self._tls = certificate.client if certificate else None
        self._disk = disk
        self._clock = clock
        self._randomness = randomness
        self._tasks = tasks
        self._files = ThreadPoolExecutor(FILE_THREADS, "files")
        self._siblings = {
            number: self._peer(UnixAddress(socket_name(number)))
            for number in range(me.workers)
            if number != me.worker
        }
        self._nodes: dict[str, RemoteNode] = {}
        self._names: dict[str, str] = {}
        self._keepers = [a for a in config.keepers if a != config.own_address]

    def _peer(self, address: Address) -> Peer:
        return Peer(
            address, self._secret, self._clock, self._randomness, self._tasks, version=release()
        )

    def _tcp_peer(self, host: str, port: int) -> Peer:
        return self._peer(TcpAddress(host, port, self._tls))

    def start(self) -> None:
        """Begin to connect to this node's other workers and to the keepers."""
        for peer in self._siblings.values():
            peer.start()
        self._meet(self._keepers)

    def close(self) -> None:
        """Close all connections. Idempotent."""
        for peer in self._siblings.values():
            peer.close()
        for node in self._nodes.values():
            node.close()
        self._files.shutdown(wait=False)

    def adopt(self, ring: Ring) -> None:
        """Connect to the nodes of a ring, and leave those that are neither in it nor keepers."""
        others = {member.address for member in ring.members if not self.is_own(member)}
        self._names = {member.address: member.node for member in ring.members}
        wanted = {address for address in others if is_address(address)}
        wanted |= set(self._keepers)
        for address in set(self._nodes) - wanted:
            self._nodes.pop(address).close()
        self._meet(sorted(wanted))

    def _meet(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            if address not in self._nodes:
                node = RemoteNode(address, self._tcp_peer, self._clock, self._tasks)
                self._nodes[address] = node
                node.start()

    async def meet(self) -> None:
        """Wait for the others, not for long: without them the first requests found no quorum."""
        siblings = self._clock.monotonic() + SIBLINGS_WITHIN_S
        await asyncio.gather(*(self._connected(peer, siblings) for peer in self._siblings.values()))
        nodes = self._clock.monotonic() + NODES_WITHIN_S
        await asyncio.gather(*(self._met(node, nodes) for node in self._nodes.values()))

    async def _connected(self, peer: Peer, deadline: float) -> None:
        while not peer.calls.connected and self._clock.monotonic() < deadline:
            with contextlib.suppress(DeviceFault):  # one attempt failed, the next is under way
                await peer.calls.ready(deadline)

    async def _met(self, node: RemoteNode, deadline: float) -> None:
        await self._connected(node.first, deadline)
        with contextlib.suppress(DeviceFault):
            await node.first.facts(
                deadline
            )  # asked after the node's own question, so answered after it

    # -- devices -----------------------------------------------------------------------------------

    def is_own(self, member: Member) -> bool:
        """Whether a device is this node's."""
        return is_own(self._config, member)

    def owns(self, member: Member) -> bool:
        """Whether a device is this process's."""
        return self.is_own(member) and self._me.owner(member.id) == self._me.worker

    def device(self, member: Member) -> DeviceClient:
        """The client of a device that another process owns; its node was met by `adopt`."""
        if not self.is_own(member):
            node = self._nodes.get(member.address)
            if node is None:
                why = f"the ring has no address of node {member.node}: {member.address!r}"
                return UnopenedDevice(member.id, why)
            return RemoteDevice(node, member.id)
        sibling = self._siblings[self._me.owner(member.id)]
        reserve = self._config.device_reserve_bytes
        files = LocalFiles(member.path, self._disk, self._files, reserve)
        return WireDevice(sibling, member.id, files)

    def keepers(self, own: DeviceClient | None) -> list[DeviceClient]:
        """The keepers in the order of the configuration. own: where this process serves one."""
        addresses = self._config.keepers or [self._config.own_address]
        return [self._keeper(address, own) for address in addresses]

    def other_keepers(self) -> list[WireDevice]:
        """Those of other nodes."""
        return [WireDevice(self._nodes[address].first, KEEPER_DEVICE) for address in self._keepers]

    def _keeper(self, address: str, own: DeviceClient | None) -> DeviceClient:
        if address == self._config.own_address:
            return own if own is not None else WireDevice(self._siblings[0], KEEPER_DEVICE)
        return WireDevice(self._nodes[address].first, KEEPER_DEVICE)

    # -- processes ---------------------------------------------------------------------------------

    def firsts(self) -> list[Peer]:
        """One process of each other node, and this node's others: whoever may know a newer ring."""
        return [*self._siblings.values(), *(node.first for node in self._nodes.values())]

    def by_name(self) -> dict[ProcessName, Peer]:
        """Every other process that is known."""
        here = {ProcessName(self._me.node, n): peer for n, peer in self._siblings.items()}
        return here | self.elsewhere()

    def elsewhere(self) -> dict[ProcessName, Peer]:
        """The processes of other nodes; of one that was never met, the first."""
        return {
            ProcessName(self._names.get(address, address), number): peer
            for address, node in self._nodes.items()
            for number, peer in enumerate(node.processes)
        }

    @property
    def outstanding(self) -> int:
        """Calls that wait for an answer."""
        return sum(peer.calls.outstanding for peer in self.by_name().values())


def is_address(text: str) -> bool:
    """Whether it has the form HOST:PORT."""
    try:
        host_and_port(text)
    except ValueError:
        return False
    return True


def is_own(config: Config, member: Member) -> bool:
    """Whether a device is this node's: all are where there is no cluster."""
    return not config.cluster_listen or member.node == config.node
