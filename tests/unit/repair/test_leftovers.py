"""What a device holds of rows that the ring places elsewhere is dropped: when, and when not."""

from collections.abc import Callable

import pytest

from proxy.repair.contract import Worked
from proxy.repair.leftovers import Leftovers
from ring.lookup import Ring
from storage.contract import Deliver, DeviceClient, DeviceFault
from storage.fence import Fence, FencedDevice
from storage.types import (
    Drop,
    RowMessage,
    Write,
)
from tests.grid import throttle
from tests.property.core.world import run
from tests.unit.cluster.test_settle import SHARD, Scene, ring_of, value

OURS = 2
"""The device whose leftovers are dropped: the ring went from 0, 1, 2 to 0, 1, 3."""


class Listening:
    """A device that tells of a message before it is carried out."""

    def __init__(self, inner: DeviceClient, hear: Callable[[RowMessage], None]) -> None:
        self._inner = inner
        self._hear = hear

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def at(self, epoch: int) -> "Listening":
        return Listening(self._inner.at(epoch), self._hear)  # type: ignore[arg-type]

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        self._hear(message)
        self._inner.send(message, payload, deadline, deliver)


class Stage(Scene):
    """The scene, and after the change the leftover device in a process of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = ring_of(3, [0, 1, 3])
        self.own_fence = Fence(3)

    async def change(self) -> None:
        """Go through the joint epoch to the new one."""
        self.enter_joint()
        await self.settler().settle(self.joint, [3])
        self.enter_new()
        self.clients[OURS] = FencedDevice(self.devices[OURS], self.own_fence)

    def worker(self) -> Leftovers:
        pace = throttle(self.clock).pace()
        return Leftovers(OURS, self.present, self.placement, self.clock, pace)

    def present(self) -> Ring:
        return self.ring

    def held(self, device: int) -> int:
        """How many rows of the shard a device knows."""
        return len(self.devices[device]._shard(SHARD).rows)


async def to_the_end(worker: Leftovers) -> None:
    while await worker.work() is Worked.BUSY:
        continue


def test_what_the_new_set_has_is_dropped() -> None:
    async def scene() -> None:
        stage = Stage()
        await stage.rows.write(SHARD, b"a", value(b"x"))
        await stage.change()
        worker = stage.worker()
        await to_the_end(worker)
        assert [stage.held(device) for device in range(4)] == [1, 1, 0, 1]
        assert worker.left == (3, 0)

    run(scene())


def test_nothing_is_dropped_without_a_majority_of_the_new_set() -> None:
    async def scene() -> None:
        stage = Stage()
        await stage.rows.write(SHARD, b"a", value(b"x"))
        await stage.change()
        stage.devices[0].go_offline()
        stage.devices[3].go_offline()
        with pytest.raises(DeviceFault):
            await to_the_end(stage.worker())
        assert stage.held(OURS) == 1

    run(scene())


def test_a_drop_decided_in_one_epoch_spares_what_the_next_one_brings() -> None:
    """The ring comes back to the device between decision and drop, and it has voted for a write."""

    async def scene() -> None:
        stage = Stage()
        await stage.rows.write(SHARD, b"a", value(b"x"))
        await stage.change()
        version = stage.rows.new_version()

        def comes_back(message: RowMessage) -> None:
            if isinstance(message, Drop) and stage.own_fence.epoch == 3:
                stage.devices[OURS]._drop(SHARD)  # as a newcomer it begins empty
                stage.own_fence.epoch = 4
                stage.ask(OURS, Write(SHARD, b"b", version, 0, 1, b""), b"y")

        stage.clients[OURS] = Listening(stage.clients[OURS], comes_back)  # type: ignore[assignment]
        with pytest.raises(DeviceFault, match="epoch"):
            await to_the_end(stage.worker())
        assert stage.known(OURS, b"b").version == version

    run(scene())
