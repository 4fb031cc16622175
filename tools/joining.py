"""How one worker becomes part of its cluster: reached by the others, reaching them, at the newest ring.

A node by itself goes the same way: it is its own only keeper, over its own sockets.
"""

import asyncio
import contextlib
import logging
from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from proxy.cluster.adoption import Adoption
from proxy.cluster.follower import Follower
from proxy.cluster.keeper_start import begin_keeper
from proxy.cluster.nodes import NodeRegister
from proxy.cluster.register import RingRegister, StaleRing, keeper_rows
from proxy.core.errors import StoreError
from proxy.core.guarded import Guards
from proxy.core.placement import Placement
from ring.lookup import Ring
from runtime.certificate import NodeCertificate
from runtime.clock import Clock, HybridClock
from runtime.config import Config, host_and_port
from runtime.disk import Disk
from runtime.randomness import Randomness
from runtime.release import release
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient
from storage.device.engine import DeviceConfig
from storage.device.lane import ThreadLane
from storage.fence import CLOSED, Fence
from storage.keeper import KeeperDevice
from storage.node import KEEPER_DEVICE, NodeFacts
from storage.wire.server import WireServer
from tools.announce import announce, begin_cluster, begins_clusters
from tools.data import Data
from tools.membership import Membership
from tools.node_service import WorkerService
from tools.own_devices import OwnDevices
from tools.peers import Peers, socket_name
from tools.ring_file import kept_ring

FIRST_RING_EVERY_S: Final = 0.25
"""How often a node without a ring looks for one."""

Failed = Callable[[str, BaseException], None]

log = logging.getLogger("atoll")


class Doors(NamedTuple):
    """What a worker has of the outside world."""

    clock: Clock
    disk: Disk
    randomness: Randomness
    stamps: HybridClock


class Joined(NamedTuple):
    """A worker's part in its cluster. The follower is not running yet."""

    peers: Peers
    register: RingRegister
    nodes: NodeRegister
    membership: Membership
    placement: Placement
    adoption: Adoption
    follower: Follower
    service: WorkerService


class Joining:
    """The steps, in the order in which `join` takes them."""

    def __init__(
        self,
        stack: contextlib.AsyncExitStack,
        config: Config,
        data: Data,
        me: NodeFacts,
        doors: Doors,
        tasks: TaskOwner,
        on_failure: Failed,
    ) -> None:
        """stack: ends everything. tasks: ended after it."""
        self._stack = stack
        self._config = config
        self._data = data
        self._me = me
        self._doors = doors
        self._tasks = tasks
        self._on_failure = on_failure
        self._fence = Fence(CLOSED)
        self._service = WorkerService(me, self._fence)

    async def join(
        self, guards: Guards, on_problem: Callable[[Exception], None], stop: asyncio.Event
    ) -> Joined | None:
        """All of it; None where `stop` came before there was a ring."""
        doors, data = self._doors, self._data
        own = self._own_devices()
        keeper = self._keeper()
        kept: dict[int, DeviceClient] = {} if keeper is None else {KEEPER_DEVICE: keeper}
        held_back = keeper if keeper and keeper.empty and len(self._config.keepers) > 1 else None
        if held_back is not None:
            held_back.hold_back()
        certificate = self._certificate()
        await self._listen(ChainMap(own.devices, kept), certificate)
        peers = self._peers(certificate)
        if held_back is not None:
            begin = partial(begin_keeper, held_back, peers.other_keepers(), doors.clock)
            self._tasks.keep("begin as a keeper", begin)
        rows = keeper_rows(peers.keepers(keeper), doors.stamps, doors.clock, doors.randomness)
        register, nodes = RingRegister(rows, doors.randomness), NodeRegister(rows, doors.randomness)
        self._announce(nodes, register)
        ring = await self._first_ring(register, stop)
        if ring is None:
            return None
        membership = Membership(
            data.ring_file,
            doors.disk,
            own,
            peers,
            guards,
            self._fence,
            self._service,
            doors.clock,
        )
        await membership.prepare(ring)
        await membership.empty_newcomers(ring)
        await membership.keep(ring)
        self._fence.epoch = ring.epoch
        placement = Placement(ring, membership.clients, membership.policies)
        adoption = Adoption(ring, self._fence, placement, membership)
        adoption.on_adopted.append(membership.let_go)
        follower = Follower(
            adoption,
            register,
            peers.firsts,
            doors.clock,
            doors.randomness,
            on_problem,
        )
        placement.on_stale = self._service.newer = follower.poke
        return Joined(peers, register, nodes, membership, placement, adoption, follower, self._service)

    # -- what is served ----------------------------------------------------------------------------

    def _own_devices(self) -> OwnDevices:
        doors = self._doors
        limits = DeviceConfig(reserve_bytes=self._config.device_reserve_bytes)
        own = OwnDevices(limits, self._data.formatted, doors.disk, doors.clock, doors.randomness)
        self._stack.push_async_callback(own.close)
        return own

    def _keeper(self) -> KeeperDevice | None:
        if self._me.worker != 0 or not self._config.keeps:
            return None
        doors = self._doors
        keeper = KeeperDevice.open(self._data.keeper, doors.disk, doors.clock, ThreadLane("keeper"))
        self._stack.push_async_callback(keeper.close)
        if keeper.offline:
            log.error("the keeper is offline: %s", keeper.offline)
        return keeper

    def _certificate(self) -> NodeCertificate | None:
        config = self._config
        if not config.cluster_ca:
            return None
        certificate = NodeCertificate(config.cluster_ca, config.cluster_certificate, config.cluster_key)
        self._stack.callback(certificate.close)
        certificate.follow(self._on_failure)
        return certificate

    async def _listen(
        self, devices: Mapping[int, DeviceClient], certificate: NodeCertificate | None
    ) -> None:
        server = WireServer(
            devices,
            self._data.secret,
            self._doors.clock,
            self._doors.randomness,
            self._on_failure,
            version=release(),
            service=self._service,
        )
        self._stack.push_async_callback(server.close)
        await server.listen_unix(socket_name(self._me.worker))
        if self._config.cluster_listen:
            host, port = host_and_port(self._config.cluster_listen)
            tls = certificate.server if certificate else None
            await server.listen_tcp(host, port + self._me.worker, tls)

    # -- whom we ask -------------------------------------------------------------------------------

    def _peers(self, certificate: NodeCertificate | None) -> Peers:
        peers = Peers(
            self._config,
            self._me,
            self._data.secret,
            certificate,
            self._doors.disk,
            self._doors.clock,
            self._doors.randomness,
            self._tasks,
        )
        self._stack.callback(peers.close)
        peers.start()
        return peers

    def _announce(self, nodes: NodeRegister, register: RingRegister) -> None:
        """Worker 0 speaks for the node."""
        if self._me.worker != 0 or not self._config.cluster_listen:
            return
        self._tasks.keep("announce", partial(announce, self._config, nodes))
        if begins_clusters(self._config):
            begin = partial(begin_cluster, self._config, nodes, register, self._doors.randomness)
            self._tasks.keep("begin the cluster", begin)

    async def _first_ring(self, register: RingRegister, stop: asyncio.Event) -> Ring | None:
        """The ring that this node has kept, or the first that the keepers have.

        Where there is one keeper and it has no ring yet, ours becomes its first: so a store that was
        made before there were keepers goes on.
        """
        ring = kept_ring(self._data.ring_file, self._doors.disk)
        if ring is not None:
            if self._me.worker == 0 and self._config.keeps and len(self._config.keepers) <= 1:
                await _try_publish(register, ring)
            return ring
        log.warning("there is no ring yet: waiting for the keepers to have one")
        while not stop.is_set():
            with contextlib.suppress(StoreError):
                ring = await register.read()
            if ring is not None:
                return ring
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_RING_EVERY_S):
                    await stop.wait()
        return None


async def _try_publish(register: RingRegister, ring: Ring) -> None:
    """Make a ring the keeper's first. Where that fails, the next start tries again."""
    try:
        if not await register.epoch():
            await register.replace(ring)
    except (StoreError, StaleRing) as error:
        log.error("the keeper does not take the ring: %s", error)
