"""What one worker has to do with the ring: which devices it serves, and how it reaches all others.

It is the `RingHost` of `proxy.cluster.adoption`: for each new ring it opens devices of its own,
connects to nodes it does not know, keeps the ring's file, and afterwards lets go of what the ring no
longer names.
"""

import asyncio
import logging
from collections.abc import Mapping

from proxy.cluster.newcomers import NotEmptied, empty, newcomers
from proxy.core.guarded import Guards
from proxy.core.policies import policy_named
from proxy.core.types import Policy
from ring.file import encode
from ring.lookup import Ring
from ring.types import ROWS
from ring.types import Device as Member
from runtime.clock import Clock
from runtime.disk import Disk
from storage.contract import DeviceClient, RowDevice
from storage.fence import Fence, FencedDevice
from tools.node_service import WorkerService
from tools.own_devices import OwnDevices
from tools.peers import Peers
from tools.ring_file import NEWCOMER_FILE, begun_in, keep_ring, note_begun

log = logging.getLogger("atoll")


class Membership:
    """clients: every device of the ring by id, behind its breaker; policies: by name. Both are changed
    in place as rings come, so that whoever holds them sees it."""

    def __init__(
        self,
        ring_file: str,
        disk: Disk,
        own: OwnDevices,
        peers: Peers,
        guards: Guards,
        fence: Fence,
        service: WorkerService,
        clock: Clock,
    ) -> None:
        self.clients: dict[int, DeviceClient] = {}
        self.policies: dict[str, Policy] = {}
        self._ring_file = ring_file
        self._disk = disk
        self._own = own
        self._peers = peers
        self._guards = guards
        self._fence = fence
        self._service = service
        self._clock = clock
        self._members: dict[int, Member] = {}

    # -- RingHost ----------------------------------------------------------------------------------

    async def prepare(self, ring: Ring) -> None:
        """See RingHost.prepare."""
        self._peers.adopt(ring)
        await self._own.open(ring, [member for member in ring.members if self._peers.owns(member)])
        for member in ring.members:
            known = self._members.get(member.id)
            if known is None or known.address != member.address:
                self.clients[member.id] = self._guards.device(self._client(member))
            self._members[member.id] = member
        for placement in ring.placements:
            if placement.name != ROWS and placement.name not in self.policies:
                self.policies[placement.name] = policy_named(placement.name)

    def _client(self, member: Member) -> DeviceClient:
        if self._peers.owns(member):
            return FencedDevice(self._own.devices[member.id], self._fence)
        return self._peers.device(member)

    async def empty_newcomers(self, ring: Ring) -> None:
        """See RingHost.empty_newcomers; at a start as well, for those that have not begun yet.

        One that is offline has taken nothing in this epoch: the next start empties it. One whose
        directory can't be read or written goes offline; it must not keep the others from going on.
        """
        for device_id, partitions in self._new_here(ring).items():
            path = f"{ring.device(device_id).path}/{NEWCOMER_FILE}"
            try:
                await self._empty_newcomer(device_id, path, ring, partitions)
            except OSError as error:
                await self._own.give_up(device_id, str(error))
                self.clients[device_id] = self._guards.device(self._client(ring.device(device_id)))

    async def _empty_newcomer(
        self, device_id: int, path: str, ring: Ring, partitions: list[int]
    ) -> None:
        """Once in an epoch. Raises NotEmptied, OSError."""
        if await asyncio.to_thread(begun_in, path, self._disk) == ring.epoch:
            return
        try:
            await empty(self._own.devices[device_id], ring, partitions, self._clock)
        except NotEmptied as error:
            if not error.offline:
                raise
            log.error("%s; it stays offline", error)
            return
        await asyncio.to_thread(note_begun, path, ring.epoch, self._disk)

    def _new_here(self, ring: Ring) -> dict[int, list[int]]:
        """The partitions that this ring brings, by our device."""
        found: dict[int, list[int]] = {}
        for device_id, partition in newcomers(ring, self._own.devices):
            found.setdefault(device_id, []).append(partition)
        return found

    async def keep(self, ring: Ring) -> None:
        """See RingHost.keep."""
        data = encode(ring)
        await asyncio.to_thread(keep_ring, data, ring.epoch, self._ring_file, self._disk)
        self._service.ring = data

    async def flush(self) -> None:
        """See RingHost.flush."""
        await self._own.flush()

    # -- afterwards --------------------------------------------------------------------------------

    async def let_go(self, ring: Ring) -> None:
        """Forget what an adopted ring no longer names; its data have moved."""
        staying = {member.id for member in ring.members}
        gone = [device_id for device_id in self._members if device_id not in staying]
        for device_id in gone:
            del self._members[device_id], self.clients[device_id]
        self._guards.forget(gone)
        await self._own.close_all_but(staying)

    @property
    def own(self) -> Mapping[int, DeviceClient]:
        """The devices that this worker serves, without fence and breaker."""
        return self._own.devices

    def own_at(self, device_id: int, epoch: int) -> RowDevice | None:
        """A device of this worker for row calls of one epoch."""
        device = self._own.devices.get(device_id)
        return None if device is None else FencedDevice(device, self._fence).at(epoch)
