"""The census counts what clients stored, on the in-memory twins of devices."""

from proxy.core.register import Value
from proxy.core.shards import object_shard_key
from proxy.core.types import ObjectAttributes
from proxy.repair.contract import Worked
from proxy.repair.throttle import ForegroundLatency, Throttle
from ring.builder import apply
from ring.draft import Draft, SetWeight
from ring.lookup import Ring
from ring.plan import plan
from ring.types import ROWS
from runtime.clock import SystemClock
from storage.contract import DeviceClient
from storage.device.unopened import UnopenedDevice
from storage.types import SEAL_NAME, RowFlag
from tests.grid import BytesBody, Grid
from tools.census import CensusTaker
from tools.health.copies import tally
from tools.health.report import Census, unpack

SMALL, LARGE = 40, 5
ATTRIBUTES = ObjectAttributes("text/plain")


async def filled() -> Grid:
    """Objects of which the large ones have a blob each, in both policies; some were deleted."""
    grid = Grid()
    store = grid.store()
    for policy in ("replicated-3", "ec-4-2"):
        container = await store.create_container("a", policy, policy=policy)
        for number in range(SMALL):
            await store.put_object(container, f"s{number}", BytesBody(b"x"), ATTRIBUTES)
        for number in range(LARGE):
            await store.put_object(container, f"l{number}", BytesBody(bytes(100_000)), ATTRIBUTES)
        for number in range(0, SMALL, 4):
            await store.delete_object(container, f"s{number}")
    return grid


OBJECTS = 2 * (SMALL * 3 // 4 + LARGE)


def taker(grid: Grid, owned: dict[int, DeviceClient], ring: Ring | None = None) -> CensusTaker:
    clock = SystemClock()
    pace = Throttle(ForegroundLatency(clock), clock, 2.0).pace()
    return CensusTaker(lambda: ring or grid.ring, owned, clock, pace)


async def counted(census: CensusTaker) -> Census:
    while await census.work() is Worked.BUSY:
        assert census.status().left is not None
    assert census.census is not None
    return census.census


async def test_two_processes_together_count_everything_once() -> None:
    grid = await filled()
    halves = [{n: grid.devices[n] for n in range(6) if n % 2 == half} for half in (0, 1)]
    censuses = [await counted(taker(grid, dict(half))) for half in halves]
    for placement, total in ((ROWS, OBJECTS), ("replicated-3", LARGE), ("ec-4-2", LARGE)):
        found = tally(censuses, placement, grid.ring.part_power)
        assert (found.total, bool(found.counted.all())) == (total, True)


async def test_one_process_counts_only_where_its_devices_are() -> None:
    grid = await filled()
    census = await counted(taker(grid, {2: grid.devices[2]}))
    (held,) = [held for held in census.held if held.placement == ROWS]
    partitions = unpack(held.partitions, grid.ring.partition_count).tolist()
    assert partitions == [p for p in range(64) if 2 in grid.ring.devices(ROWS, p)]


async def test_a_device_that_cannot_tell_leaves_its_partitions_uncounted() -> None:
    grid = await filled()
    owned: dict[int, DeviceClient] = {0: UnopenedDevice(0, "gone"), 1: grid.devices[1]}
    found = tally([await counted(taker(grid, owned))], ROWS, grid.ring.part_power)
    for partition in range(grid.ring.partition_count):
        assert found.counted[partition] == (1 in grid.ring.devices(ROWS, partition))


async def test_a_ring_that_changes_on_the_way_is_counted_anew() -> None:
    grid = await filled()
    rings = [grid.ring]
    clock = SystemClock()
    pace = Throttle(ForegroundLatency(clock), clock, 2.0).pace()
    census = CensusTaker(lambda: rings[-1], {0: grid.devices[0]}, clock, pace)
    await census.work()
    step = plan(grid.ring, Draft(grid.ring.epoch).with_change(grid.ring, SetWeight(0, 0.5)), 1)
    rings.append(apply(grid.ring, step))
    found = tally([await counted(census)], ROWS, grid.ring.part_power)
    for partition in range(64):  # what it still holds of what has moved counts, too
        placed = 0 in rings[-1].devices(ROWS, partition)
        assert found.counted[partition] == (placed or found.things[partition] > 0)


async def test_a_sealed_shard_is_not_counted() -> None:
    """Its rows are on their way to other shards, or gone with their container."""
    grid = Grid()
    rows = grid.store().rows
    shards = [object_shard_key(bytes(16), 0, number) for number in range(2)]
    for shard in shards:
        await rows.write(shard, b"name", Value(int(RowFlag.NONE), 1, b"", b""))
    await rows.write(shards[0], SEAL_NAME, Value(int(RowFlag.UNCOUNTED), 0, b"", b""))
    found = tally([await counted(taker(grid, dict(enumerate(grid.devices))))], ROWS, 6)
    assert found.total == 1
