"""A newcomer settles over in-memory replicas: it knows what a majority of the old set knew."""

import asyncio

import numpy as np

from proxy.cluster.newcomers import empty, newcomers
from proxy.cluster.settle import Settler
from proxy.core.placement import Placement
from proxy.core.register import Value, tombstone
from proxy.core.rows import Rows
from ring.builder import build
from ring.lookup import Ring
from ring.types import ROWS, Device, Step
from ring.types import Placement as PlacementSpec
from runtime.clock import HybridClock
from runtime.randomness import SeededRandomness
from storage.contract import DeviceClient
from storage.fence import Fence, FencedDevice
from storage.memory import MemoryDevice
from storage.types import (
    ZERO_STAMP,
    ZERO_VERSION,
    Accept,
    Prepare,
    Pull,
    Pulled,
    PulledRow,
    RowAnswer,
    RowMessage,
    Want,
    Write,
)
from tests.property.core.world import LoopClock, run

SHARD = b"shard"


def ring_of(epoch: int, table: list[int], sources: list[int] | None = None, *, root: str = "") -> Ring:
    """A ring of one partition, its rows on `table`; sources: where each came from in this epoch.

    root: the directory of all devices' directories.
    """
    return ring_with(epoch, [table], None if sources is None else [sources], root=root)


def ring_with(
    epoch: int, table: list[list[int]], sources: list[list[int]] | None = None, *, root: str = ""
) -> Ring:
    """The same of a power of two partitions, given one by one."""
    members = tuple(
        Device(n, f"{n + 1:032x}", "r", "z", f"n{n}", "h:1", f"{root}/d{n}", 1.0) for n in range(5)
    )
    first = build(members, [PlacementSpec(ROWS, 3)], 0, 7, cluster_id="0" * 32)
    steps: tuple[Step, ...] = ()
    if sources is not None:
        before, after = np.array(sources, np.uint16), np.array(table, np.uint16)
        partitions, replicas = np.nonzero(before != after)
        left = before[partitions, replicas].astype(np.uint32)
        step = Step(epoch, 0, partitions.astype(np.uint32), replicas.astype(np.uint8), left)
        steps = (step,)
    return Ring(
        epoch=epoch,
        cluster_id=first.cluster_id,
        salt=7,
        part_power=len(table).bit_length() - 1,
        min_part_hours=0,
        overload=first.overload,
        next_device_id=5,
        devices=members,
        placements=first.placements,
        tables={ROWS: np.array(table, np.uint16).T},
        steps={ROWS: steps},
    )


class Scene:
    """Five twins behind one fence, rows over them; the ring goes from 0, 1, 2 to 0, 1, 3."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.fence = Fence(1)
        self.devices = [MemoryDevice(n, self.clock) for n in range(5)]
        self.clients: dict[int, DeviceClient] = {
            n: FencedDevice(device, self.fence) for n, device in enumerate(self.devices)
        }
        self.placement = Placement(ring_of(1, [0, 1, 2]), self.clients, {})
        self.rows = self.make_rows(b"rows-one")
        self.joint = ring_of(2, [0, 1, 3], [0, 1, 2])
        self.problems: list[Exception] = []

    def make_rows(self, token: bytes) -> Rows:
        stamps = HybridClock(self.clock, token)
        return Rows(self.placement, stamps, self.clock, SeededRandomness(1))

    def enter_joint(self) -> None:
        self.fence.epoch = 2
        self.placement.adopt(self.joint)

    def enter_new(self) -> None:
        self.fence.epoch = 3
        self.placement.adopt(ring_of(3, [0, 1, 3]))

    def settler(self) -> Settler:
        return Settler(
            self.placement,
            self.rows,
            lambda device, epoch: self.clients[device].at(epoch),
            self.clock,
            self.problems.append,
        )

    def ask(self, device: int, message: RowMessage, payload: bytes = b"") -> RowAnswer:
        answers: list[RowAnswer] = []
        self.devices[device].send(message, payload, 1e9, lambda answer, _: answers.append(answer))
        return answers[0]

    def known(self, device: int, name: bytes) -> PulledRow:
        pulled = self.ask(device, Pull(SHARD, name, 1))
        assert isinstance(pulled, Pulled)
        return pulled.rows[0]


def value(content: bytes) -> Value:
    return Value(0, len(content), b"head", content)


def test_a_newcomer_has_all_rows_and_the_new_set_answers_without_the_old() -> None:
    async def scene() -> None:
        world = Scene()
        for number in range(50):
            await world.rows.write(SHARD, b"%d" % number, value(b"x%d" % number))
        await world.rows.write(SHARD, b"7", tombstone())
        world.enter_joint()
        settler = world.settler()
        await settler.settle(world.joint, [3])
        assert (settler.settled, settler.unsettled) == (1, 0)
        world.enter_new()
        world.devices[0].go_offline()
        world.devices[2].go_offline()
        for number in range(50):
            row = await world.rows.read(SHARD, b"%d" % number)
            assert row.live == (number != 7)
            assert number == 7 or row.value.payload == b"x%d" % number

    run(scene())


def test_one_old_replica_may_be_away_and_a_lost_majority_is_waited_for() -> None:
    async def scene() -> None:
        world = Scene()
        await world.rows.write(SHARD, b"a", value(b"x"))
        world.enter_joint()
        world.devices[0].go_offline("away")
        world.devices[1].go_offline("away")
        settler = world.settler()
        settling = asyncio.ensure_future(settler.settle(world.joint, [3]))
        await asyncio.sleep(3)
        assert settler.unsettled == 1
        assert world.problems
        world.devices[1].go_online()
        await settling
        assert world.known(3, b"a").version != ZERO_VERSION

    run(scene())


def test_a_write_of_one_old_replica_alone_reaches_the_newcomer() -> None:
    async def scene() -> None:
        world = Scene()
        version = HybridClock(world.clock, b"writer-1").stamp() + ZERO_STAMP
        world.ask(1, Write(SHARD, b"a", version, 0, 1, b""), b"y")
        world.devices[0].go_offline()
        world.enter_joint()
        await world.settler().settle(world.joint, [3])
        assert world.known(3, b"a").version == version

    run(scene())


def test_promises_are_taken_over() -> None:
    async def scene() -> None:
        world = Scene()
        ballot = b"\7" * 16
        world.ask(0, Prepare(SHARD, b"a", ballot))
        world.ask(2, Prepare(SHARD, b"a", ballot))
        world.enter_joint()
        await world.settler().settle(world.joint, [3])
        assert world.known(3, b"a").promised == ballot

    run(scene())


def test_a_conditional_version_below_a_promise_is_decided_anew() -> None:
    async def scene() -> None:
        world = Scene()
        low, high = b"\1" * 16, b"\2" * 16
        world.ask(1, Prepare(SHARD, b"a", low))
        world.ask(1, Accept(SHARD, b"a", ZERO_STAMP + low, 0, 1, b"h"), b"v")
        world.ask(0, Prepare(SHARD, b"a", high))
        world.ask(2, Prepare(SHARD, b"a", high))
        world.enter_joint()
        world.devices[2].go_offline()
        await world.settler().settle(world.joint, [3])
        row = world.known(3, b"a")
        assert row.version[16:] > high
        assert row.promised >= row.version[16:]
        world.enter_new()
        before = await world.rows.read(SHARD, b"a", Want.PAYLOAD)
        world.devices[1].go_offline()
        after = await world.rows.read(SHARD, b"a", Want.PAYLOAD)
        assert before == after
        assert before.value.payload == b"v"

    run(scene())


def test_a_newcomer_begins_empty() -> None:
    async def scene() -> None:
        world = Scene()
        world.ask(
            3,
            Write(SHARD, b"old", HybridClock(world.clock, b"writer-1").stamp() + ZERO_STAMP, 0, 1, b""),
            b"y",
        )
        assert newcomers(world.joint, [3, 4]) == [(3, 0)]
        assert isinstance(pulled := world.ask(3, Pull(SHARD, b"", 10)), Pulled)
        assert len(pulled.rows) == 1
        await empty(world.devices[3], world.joint, [0], world.clock)
        assert world.ask(3, Pull(SHARD, b"", 10)) == Pulled([], b"")

    run(scene())


def test_nobody_settles_in_another_epoch() -> None:
    async def scene() -> None:
        world = Scene()
        settler = world.settler()
        settling = asyncio.ensure_future(settler.settle(world.joint, [3]))
        await asyncio.sleep(2)
        assert settler.unsettled == 1
        settling.cancel()
        await asyncio.wait([settling])

    run(scene())


def test_writes_go_on_while_a_newcomer_settles() -> None:
    async def scene() -> None:
        world = Scene()
        await world.rows.write(SHARD, b"a", value(b"1"))
        world.enter_joint()
        await world.rows.write(SHARD, b"a", value(b"2"))
        assert (await world.rows.read(SHARD, b"a")).value.payload == b"2"
        await world.settler().settle(world.joint, [3])
        await world.rows.write(SHARD, b"b", value(b"3"))
        world.enter_new()
        assert (await world.rows.read(SHARD, b"a")).value.payload == b"2"
        assert (await world.rows.read(SHARD, b"b")).value.payload == b"3"

    run(scene())


def test_partitions_that_are_stuck_hold_up_no_others_and_come_last() -> None:
    async def scene() -> None:
        world = Scene()
        stuck, going = [[0, 1, 2]] * 12, [[2, 4, 0]] * 4
        after = [[0, 1, 3]] * 12 + [[2, 4, 3]] * 4
        world.fence.epoch = 2
        joint = ring_with(2, after, stuck + going)
        world.placement.adopt(joint)
        world.devices[0].go_offline("away")
        world.devices[1].go_offline("away")
        settler = world.settler()
        settling = asyncio.ensure_future(settler.settle(joint, [3]))
        await asyncio.sleep(0.4)
        assert (settler.settled, settler.unsettled) == (4, 12)
        assert len(world.problems) == 12
        world.devices[1].go_online()
        await settling
        assert (settler.settled, settler.unsettled) == (16, 0)

    run(scene())


def test_a_large_change_takes_no_more_tasks_than_a_small_one() -> None:
    async def scene() -> None:
        world = Scene()
        world.fence.epoch = 2
        joint = ring_with(2, [[0, 1, 3]] * 4096, [[0, 1, 2]] * 4096)
        world.placement.adopt(joint)
        settling = asyncio.ensure_future(world.settler().settle(joint, [3]))
        most = 0
        while not settling.done():
            most = max(most, len(asyncio.all_tasks()))
            await asyncio.sleep(0)
        assert most < 50

    run(scene())
