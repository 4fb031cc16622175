"""What a worker knows of the ring's devices, also after a ring that could not be prepared at once."""

from pathlib import Path
from typing import Any, cast

import pytest

from proxy.core.guarded import Guards
from ring.lookup import Ring
from ring.types import Device
from runtime.clock import SystemClock
from runtime.disk import RealDisk
from runtime.randomness import SystemRandomness
from storage.contract import DeviceClient, DeviceFault
from storage.device.engine import DeviceConfig
from storage.device.unopened import UnopenedDevice
from storage.fence import Fence
from storage.memory import MemoryDevice
from tests.property.core.world import LoopClock, run
from tests.unit.cluster.test_settle import ring_of
from tools.membership import Membership
from tools.own_devices import OwnDevices
from tools.peers import Peers
from tools.ring_file import NEWCOMER_FILE


class Others:
    """All devices are other nodes', and the first questions for some can't be answered."""

    def __init__(self, unknown: set[int]) -> None:
        self.unknown = unknown
        self.devices: dict[int, DeviceClient] = {}

    def adopt(self, ring: Ring) -> None:
        return

    def owns(self, member: Device) -> bool:
        return False

    def device(self, member: Device) -> DeviceClient:
        if member.id in self.unknown:
            self.unknown.remove(member.id)
            raise OSError(f"device {member.id} has no address")
        return MemoryDevice(member.id, LoopClock())

    async def open(self, ring: Ring, members: list[Device]) -> None:
        return


class OwnOne(Others):
    """One device is ours."""

    def __init__(self, device_id: int) -> None:
        super().__init__(set())
        self._own = device_id

    def owns(self, member: Device) -> bool:
        return member.id == self._own


async def test_a_newcomer_whose_directory_is_broken_keeps_nobody_from_going_on(tmp_path: Path) -> None:
    clock, disk = SystemClock(), RealDisk()
    own = OwnDevices(DeviceConfig(), str(tmp_path / "formatted"), disk, clock, SystemRandomness())
    peers, service = cast(Peers, OwnOne(3)), cast(Any, None)
    ring = ring_of(2, [0, 1, 3], [0, 1, 2], root=str(tmp_path))
    membership = Membership("", disk, own, peers, Guards(clock), Fence(1), service, clock)
    try:
        await membership.prepare(ring)
        assert not isinstance(own.devices[3], UnopenedDevice)
        (tmp_path / "d3" / NEWCOMER_FILE).mkdir()
        await membership.empty_newcomers(ring)
        with pytest.raises(DeviceFault, match="directory"):
            await membership.clients[3].list_blobs(None, 1)
    finally:
        await own.close()


def test_a_client_that_could_not_be_made_is_made_by_the_next_try() -> None:
    async def scene() -> None:
        others: Any = Others({1, 3})
        own, peers = cast(OwnDevices, others), cast(Peers, others)
        clock, service = SystemClock(), cast(Any, None)
        membership = Membership("", RealDisk(), own, peers, Guards(clock), Fence(1), service, clock)
        ring = ring_of(1, [0, 1, 2])
        for _ in range(2):
            with pytest.raises(OSError, match="no address"):
                await membership.prepare(ring)
        await membership.prepare(ring)
        assert sorted(membership.clients) == [0, 1, 2, 3, 4]

    run(scene())
