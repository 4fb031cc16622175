"""What a device holds of rows that the ring places elsewhere is dropped: when, and when not."""

from collections.abc import Callable

import msgspec
import pytest

from proxy.core.register import Value, tombstone
from proxy.core.seals import Seals, sealed_container
from proxy.core.types import ContainerHead, SealHead
from proxy.repair.contract import Worked
from proxy.repair.covering import ages, differing, uncovered
from proxy.repair.leftovers import Leftovers
from ring.lookup import Ring
from storage.contract import Deliver, DeviceClient
from storage.fence import Fence, FencedDevice
from storage.types import (
    ZERO_STAMP,
    Accept,
    Drop,
    Prepare,
    RowFlag,
    RowMessage,
    Write,
)
from tests.grid import throttle
from tests.property.core.world import run
from tests.unit.cluster.test_settle import SHARD, Scene, ring_of, value

OURS = 2
"""The device whose leftovers are dropped: the ring went from 0, 1, 2 to 0, 1, 3."""


DAY_S = 86400
ORPHAN_GRACE_S = 7.0 * DAY_S


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
        return Leftovers(
            OURS, self.present, self.placement, self.rows, self.clock, pace, ages(ORPHAN_GRACE_S)
        )

    def present(self) -> Ring:
        return self.ring

    def held(self, device: int, shard: bytes = SHARD) -> int:
        """How many rows of the shard a device knows."""
        return len(self.devices[device]._shard(shard).rows)


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
        worker = stage.worker()
        await to_the_end(worker)
        assert stage.held(OURS) == 1
        assert worker.left == (3, 1)
        assert "no majority of partition 0" in worker.status().doing

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
        worker = stage.worker()
        await to_the_end(worker)
        assert worker.status().doing.endswith("can't be dropped: epoch")
        assert stage.known(OURS, b"b").version == version

    run(scene())


def written(
    stage: Stage, device: int, name: bytes, age_s: int, flags: int = 0, shard: bytes = SHARD
) -> bytes:
    """A write that this device alone has taken, so long ago; its version."""
    ns = stage.clock.now_ns() - age_s * 10**9
    version = ns.to_bytes(8, "big") + b"writer-1" + ZERO_STAMP
    stage.ask(device, Write(shard, name, version, flags, 1, b"h"), b"y")
    return version


@pytest.mark.parametrize("conditional", [False, True])
def test_what_nobody_else_has_is_handed_on_before_it_is_dropped(conditional: bool) -> None:
    async def scene() -> None:
        stage = Stage()
        await stage.rows.write(SHARD, b"a", value(b"x"))
        await stage.change()
        if conditional:
            ballot = stage.rows.new_version()[:16]
            version = stage.known(OURS, b"a").version[:16] + ballot
            stage.ask(OURS, Accept(SHARD, b"a", version, 0, 1, b"h"), b"y")
        else:
            version = written(stage, OURS, b"a", -1)
        await to_the_end(stage.worker())
        assert stage.held(OURS) == 0
        assert [stage.known(device, b"a").version for device in (0, 1, 3)] == [version] * 3
        assert (await stage.rows.read(SHARD, b"a")).value.payload == b"y"

    run(scene())


def test_an_update_that_others_promised_more_to_is_decided_anew() -> None:
    async def scene() -> None:
        stage = Stage()
        await stage.rows.write(SHARD, b"a", value(b"x"))
        await stage.change()
        low, high = stage.rows.new_version()[:16], stage.rows.new_version()[:16]
        version = stage.known(OURS, b"a").version[:16] + low
        stage.ask(OURS, Accept(SHARD, b"a", version, 0, 1, b"h"), b"y")
        for device in (0, 1):
            stage.ask(device, Prepare(SHARD, b"a", high))
        worker = stage.worker()
        await to_the_end(worker)
        assert stage.held(OURS) == 1
        await to_the_end(worker)
        assert stage.held(OURS) == 0
        assert (await stage.rows.read(SHARD, b"a")).value.payload == b"x"

    run(scene())


@pytest.mark.parametrize(
    ("age_s", "flags", "stays"),
    [
        (3 * DAY_S, RowFlag.NONE, False),
        (4 * DAY_S, RowFlag.NONE, True),
        (3 * DAY_S, RowFlag.BLOBS, False),
        (4 * DAY_S, RowFlag.BLOBS, True),
        (30 * DAY_S, RowFlag.TOMBSTONE, False),
    ],
)
def test_old_rows_are_not_handed_on_and_stay(age_s: int, flags: int, stays: bool) -> None:
    """Their deletion may have been reclaimed elsewhere, and their blobs collected."""

    async def scene() -> None:
        stage = Stage()
        await stage.change()
        version = written(stage, OURS, b"a", age_s, flags)
        worker = stage.worker()
        await to_the_end(worker)
        old = stays or flags == RowFlag.TOMBSTONE
        assert stage.held(OURS) == stays
        assert worker.left == (3, stays)
        assert (stage.held(0) == 0) == old
        assert old or stage.known(0, b"a").version == version

    run(scene())


def test_a_sealed_shard_that_lacks_something_elsewhere_waits_until_it_is_spent() -> None:
    async def scene() -> None:
        stage = Stage()
        head = ContainerHead(bytes(16), 1, "replicated-3", 4)
        shard, seal = head.layout.all_shards()[0], SealHead(1, b"nonce", "a", "c")
        containers, name = sealed_container(seal)
        await stage.rows.write(containers, name, Value(0, 0, msgspec.msgpack.encode(head), b""))
        await stage.change()
        written(stage, OURS, b"a", 1, shard=shard)
        await Seals(stage.rows).set(shard, seal)
        worker = stage.worker()
        await to_the_end(worker)
        assert stage.held(OURS, shard) == 1
        assert [stage.held(device, shard) for device in (0, 1, 3)] == [1, 1, 1]  # the seal
        await stage.rows.write(containers, name, tombstone())
        await to_the_end(worker)
        assert stage.held(OURS, shard) == 0
        assert [stage.held(device, shard) for device in (0, 1, 3)] == [1, 1, 1]

    run(scene())


def test_what_is_lacking_is_told_by_versions_and_leaves() -> None:
    ours = {b"a": b"2", b"b": b"2", b"c": b"2"}
    held = [{b"a": b"2", b"b": b"1"}, {b"a": b"3", b"b": b"2"}, {b"c": b"2"}]
    assert uncovered(ours, held, 2) == [b"b", b"c"]
    assert differing([0, 5, 6, 7], [[1, 5, 6, 0], [2, 5, 0, 0], [3, 0, 0, 7]], 2) == [2, 3]
