"""What a process has to do with the ring, as `tools/membership.py` and `tools/own_devices.py` do it:
its devices are opened, those of others reached, and the ring is kept on the node's own disk."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import TypeVar

from proxy.cluster.newcomers import NotEmptied, empty, newcomers
from proxy.core.guarded import Guards
from proxy.core.policies import policy_named
from proxy.core.types import Policy
from ring.file import encode, write_bytes
from ring.lookup import Ring
from ring.types import ROWS
from ring.types import Device as Member
from runtime.randomness import SeededRandomness
from storage.contract import DeviceClient, RowDevice
from storage.device.engine import Device, DeviceConfig
from storage.device.unopened import UnopenedDevice
from storage.fence import Fence, FencedDevice
from storage.keeper import KeeperDevice
from tests.sim.disk import DiskDoor, SimDisk, SimExecutor, SimLane, SlowDisk
from tests.sim.network import Network, RemoteDevice
from tests.sim.virtual_time import Life, SkewedClock
from tools.ring_file import NEWCOMER_FILE, begun_in, kept_ring, note_begun

T = TypeVar("T")

RING_FILE = "home/ring"
KEEPER_FILE = "home/keeper"


class Drive:
    """A disk as one life uses it: its door, and how long its jobs take."""

    def __init__(self, disk: SimDisk, life: Life, rng: random.Random) -> None:
        self.door = DiskDoor(disk, life)
        self._slow = SlowDisk(disk, life, rng)
        self.executor = SimExecutor(self._slow, life)

    def lane(self, _name: str) -> SimLane:
        """See LaneFactory."""
        return SimLane(self._slow)

    async def run(self, work: Callable[[], T]) -> T:
        """Blocking work."""
        return await asyncio.get_running_loop().run_in_executor(
            self.executor,  # type: ignore[arg-type]
            work,
        )


class Membership:
    """A `RingHost`. clients, policies and devices change in place as rings come."""

    def __init__(
        self,
        name: str,
        life: Life,
        disks: dict[str, SimDisk],
        home: SimDisk,
        network: Network,
        clock: SkewedClock,
        config: DeviceConfig,
        fence: Fence,
        rng: random.Random,
    ) -> None:
        self.clients: dict[int, DeviceClient] = {}
        self.policies: dict[str, Policy] = {}
        self.devices: dict[int, Device | UnopenedDevice] = {}
        self.home = Drive(home, life, random.Random(rng.getrandbits(64)))
        self._name = name
        self._life = life
        self._disks = disks
        self._network = network
        self._clock = clock
        self._config = config
        self._fence = fence
        self._rng = rng
        self._guards = Guards(clock)
        self._drives: dict[int, Drive] = {}
        self._members: dict[int, Member] = {}

    def first_ring(self) -> Ring:
        """The ring that this node has kept."""
        ring = kept_ring(RING_FILE, self.home.door)
        assert ring is not None
        return ring

    def open_keeper(self) -> KeeperDevice:
        """This node's keeper."""
        lane = self.home.lane("keeper")
        return KeeperDevice.open(KEEPER_FILE, self.home.door, self._clock, lane)

    # -- RingHost --

    async def prepare(self, ring: Ring) -> None:
        """See RingHost.prepare."""
        for member in ring.members:
            if member.node == self._name and member.id not in self.devices:
                self.devices[member.id] = await self._open(member)
            if member.id not in self._members:
                self._members[member.id] = member
                self.clients[member.id] = self._guards.device(self._client(member))
        for placement in ring.placements:
            if placement.name != ROWS:
                self.policies.setdefault(placement.name, policy_named(placement.name))

    def _client(self, member: Member) -> DeviceClient:
        if member.id in self.devices:
            return FencedDevice(self.devices[member.id], self._fence)
        return RemoteDevice(self._network, self._name, member.node, member.id)

    async def _open(self, member: Member) -> Device | UnopenedDevice:
        rng = random.Random(self._rng.getrandbits(64))
        drive = self._drives[member.id] = Drive(self._disks[member.path], self._life, rng)
        try:
            return await Device.open(
                member.path,
                drive.door,
                self._clock,
                SeededRandomness(self._rng.getrandbits(64)),
                device_id=member.id,
                cluster="0" * 32,
                incarnation=bytes.fromhex(member.incarnation),
                config=self._config,
                lanes=drive.lane,
                open_index=drive.door.open_index,
                verify_index=lambda _path: "",
                executor=drive.executor,  # type: ignore[arg-type]
            )
        except OSError as error:
            return UnopenedDevice(member.id, str(error))

    async def empty_newcomers(self, ring: Ring) -> None:
        """See RingHost.empty_newcomers; as `tools/membership.py` does it."""
        found: dict[int, list[int]] = {}
        for device_id, partition in newcomers(ring, self.devices):
            found.setdefault(device_id, []).append(partition)
        for device_id, partitions in found.items():
            path = f"{ring.device(device_id).path}/{NEWCOMER_FILE}"
            try:
                await self._empty(device_id, path, ring, partitions)
            except OSError as error:
                await self._give_up(ring.device(device_id), str(error))

    async def _give_up(self, member: Member, why: str) -> None:
        device = self.devices[member.id]
        self.devices[member.id] = UnopenedDevice(member.id, why)
        self.clients[member.id] = self._guards.device(self._client(member))
        if isinstance(device, Device):
            with contextlib.suppress(OSError):
                await device.close()

    async def _empty(self, device_id: int, path: str, ring: Ring, partitions: list[int]) -> None:
        drive = self._drives[device_id]
        if await drive.run(lambda: begun_in(path, drive.door)) == ring.epoch:
            return
        try:
            await empty(self.devices[device_id], ring, partitions, self._clock)
        except NotEmptied as error:
            if not error.offline:
                raise
            return
        await drive.run(lambda: note_begun(path, ring.epoch, drive.door))

    async def keep(self, ring: Ring) -> None:
        """See RingHost.keep."""
        await self.home.run(lambda: self._keep(ring))

    def _keep(self, ring: Ring) -> None:
        kept = kept_ring(RING_FILE, self.home.door)
        if kept is None or kept.epoch < ring.epoch:
            write_bytes(encode(ring), RING_FILE, self.home.door)

    async def flush(self) -> None:
        """See RingHost.flush."""
        opened = [device for device in self.devices.values() if isinstance(device, Device)]
        await asyncio.gather(*(device.flush() for device in opened))

    # -- afterwards --

    async def let_go(self, ring: Ring) -> None:
        """Forget what an adopted ring no longer names."""
        staying = {member.id for member in ring.members}
        gone = [device_id for device_id in self._members if device_id not in staying]
        for device_id in gone:
            del self._members[device_id], self.clients[device_id]
            device = self.devices.pop(device_id, None)
            if isinstance(device, Device):
                await device.close()
        self._guards.forget(gone)

    def own_at(self, device_id: int, epoch: int) -> RowDevice | None:
        """A device of this process for row calls of one epoch."""
        device = self.devices.get(device_id)
        return None if device is None else FencedDevice(device, self._fence).at(epoch)
