"""sync: replicas become alike, by what a reader might do, and sealed shards keep what they decided."""

import random

import pytest

from proxy.repair.differences import Gift, gifts, sealed_gifts
from proxy.repair.sync import Sync
from storage.types import (
    SEAL_NAME,
    ZERO_STAMP,
    Accept,
    Ok,
    Prepare,
    Read,
    Row,
    RowFlag,
    Sealed,
    Write,
)
from tests.unit.repair.rows_grid import RowsGrid, SetClock, payload_of, run

SHARD = b"o" + bytes(16)
GONE = RowFlag.TOMBSTONE


def put(grid: RowsGrid, name: bytes, version: bytes, *numbers: int, flags: int = 0) -> None:
    """Store a version on some of the shard's replicas."""
    kind = Write if version[16:] == ZERO_STAMP else Accept
    for number in numbers:
        message = kind(SHARD, name, version, flags, 5, b"head " + version)
        grid.tell(grid.replicas(SHARD)[number], message, payload_of(version))


def held(grid: RowsGrid, name: bytes) -> list[bytes]:
    """The version of a row on each replica, b"" for none."""
    return [grid.versions(device, SHARD).get(name, b"") for device in grid.replicas(SHARD)]


async def test_a_replica_that_was_away_gets_what_it_lacks() -> None:
    grid = RowsGrid()
    away = grid.replicas(SHARD)[1]
    versions = [grid.plain() for _ in range(20)]
    for number, version in enumerate(versions):
        put(grid, b"name/%d" % number, version, 0, 1, 2)
    newer = [grid.plain() for _ in range(6)]
    for number, version in enumerate(newer):
        flags = GONE if number % 2 else RowFlag.NONE
        put(grid, b"name/%d" % (number * 3), version, 0, 2, flags=flags)
    sync = grid.sync()
    await run(sync)
    first, *others = (grid.known(device, SHARD) for device in grid.replicas(SHARD))
    assert others == [first, first]
    assert grid.versions(away, SHARD)[b"name/15"] == newer[5]
    assert sync.status().counts == {"rows_given": 6, "rows_refused": 0, "shards_compared": 1}
    await run(sync)
    assert sync.status().counts["shards_compared"] == 1


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_they_hold_all_have_the_newest_in_the_end(seed: int) -> None:
    rng = random.Random(seed)
    grid = RowsGrid(rng.choice([3, 5]))
    shards = [SHARD[:-1] + bytes([number]) for number in range(6)]
    highest: dict[tuple[bytes, bytes], bytes] = {}
    for _ in range(300):
        shard, name = rng.choice(shards), b"%d" % rng.randrange(40)
        version = grid.stamps.stamp() + (grid.stamps.stamp() if rng.random() < 0.3 else ZERO_STAMP)
        flags = rng.choice([0, 0, GONE, RowFlag.BLOBS])
        kind = Write if version[16:] == ZERO_STAMP else Accept
        for device in rng.sample(grid.replicas(shard), rng.randint(1, 3)):
            message = kind(shard, name, version, flags, 5, b"head " + version)
            assert grid.tell(device, message, payload_of(version)) == Ok()
        highest[shard, name] = version
    syncs = [grid.sync(number) for number in range(len(grid.devices))]
    await run(*syncs)
    for (shard, name), version in highest.items():
        for device in grid.replicas(shard):
            row, payload = grid.known(device, shard)[name]
            assert (row.version, row.head, payload) == (
                version,
                b"head " + version,
                payload_of(version),
            )
    for shard in shards:
        assert len({grid.digests(device)[shard] for device in grid.replicas(shard)}) == 1


async def test_each_partition_has_one_leader() -> None:
    """The first that can be reached, in the ring's order."""
    grid = RowsGrid()
    put(grid, b"n", grid.plain(), 0)
    ids = [device.device_id for device in grid.replicas(SHARD)]
    second, third = grid.sync(ids[1]), grid.sync(ids[2])
    await run(second, third)
    assert held(grid, b"n")[1:] == [b"", b""]
    put(grid, b"n", grid.plain(), 2)
    grid.devices[ids[0]].go_offline()
    await run(third)
    assert third.status().counts["rows_given"] == 0
    await run(second)
    assert second.status().counts["rows_given"] == 1
    assert held_of(grid, 1) == held_of(grid, 2)
    grid.devices[ids[0]].go_online()
    await run(grid.sync(ids[0]))
    assert len(set(held(grid, b"n"))) == 1


def held_of(grid: RowsGrid, number: int) -> dict[bytes, bytes]:
    return grid.versions(grid.replicas(SHARD)[number], SHARD)


async def test_a_promise_that_nobody_keeps_does_not_keep_them_apart() -> None:
    grid = RowsGrid()
    base = grid.plain()
    put(grid, b"n", base, 0, 1, 2)
    put(grid, b"n", base[:16] + grid.stamps.stamp(), 0)
    for device in grid.replicas(SHARD)[1:]:
        grid.tell(device, Prepare(SHARD, b"n", grid.stamps.stamp()))
    sync = grid.sync()
    await run(sync)
    assert len(set(held(grid, b"n"))) == 2  # an update may be under way
    await run(sync)
    await run(sync)
    assert len(set(held(grid, b"n"))) == 1
    assert held(grid, b"n")[0][16:] != ZERO_STAMP


async def test_a_damaged_copy_is_not_handed_on() -> None:
    grid = RowsGrid()
    version = grid.plain()
    put(grid, b"n", version, 0, 1)
    grid.replicas(SHARD)[0].corrupt_row(SHARD, b"n")
    await run(grid.sync())
    assert grid.known(grid.replicas(SHARD)[2], SHARD)[b"n"][1] == payload_of(version)
    put(grid, b"other", grid.plain(), 0)
    grid.replicas(SHARD)[0].corrupt_row(SHARD, b"other")
    await run(grid.sync())
    assert held(grid, b"other")[1:] == [b"", b""]


async def test_a_seal_is_given_first_and_then_what_a_majority_holds() -> None:
    grid = RowsGrid()
    acknowledged, only, newer = grid.plain(), grid.plain(), grid.plain()
    put(grid, b"acknowledged", acknowledged, 0, 1)
    put(grid, b"only", only, 2)
    put(grid, b"both", acknowledged, 0, 1)
    put(grid, b"both", newer, 1)
    seal = grid.seal(SHARD, *grid.replicas(SHARD)[:2])
    sync = grid.sync()
    await run(sync)
    assert held(grid, SEAL_NAME) == [seal] * 3
    assert held(grid, b"acknowledged") == [acknowledged] * 3
    assert held(grid, b"both") == [acknowledged, newer, acknowledged]
    assert held(grid, b"only") == [b"", b"", only]


async def test_a_write_that_a_seal_cut_off_is_never_acknowledged_after_it() -> None:
    """Whoever scanned the two others decided that it is not there."""
    grid = RowsGrid()
    version = grid.plain()
    put(grid, b"n", version, 2)
    grid.seal(SHARD, *grid.replicas(SHARD))
    for _ in range(3):
        await run(grid.sync())
    again = Write(SHARD, b"n", version, 0, 5, b"head " + version)
    answers = [grid.tell(device, again, payload_of(version)) for device in grid.replicas(SHARD)]
    assert answers == [Sealed(), Sealed(), Ok()]


async def test_sealed_replicas_that_stay_different_are_not_compared_again_and_again() -> None:
    grid = RowsGrid()
    put(grid, b"only", grid.plain(), 2)
    put(grid, b"acknowledged", grid.plain(), 0, 1)
    seal = grid.seal(SHARD, *grid.replicas(SHARD))
    sync = grid.sync()
    for _ in range(3):
        await run(sync)
    compared = sync.status().counts["shards_compared"]
    for _ in range(3):
        await run(sync)
    assert sync.status().counts["shards_compared"] == compared
    lifted = grid.plain()
    assert lifted > seal
    put(grid, SEAL_NAME, lifted, 1, flags=GONE)
    await run(sync)
    await run(sync)
    assert held(grid, SEAL_NAME) == [lifted] * 3
    assert len(set(held(grid, b"only"))) == 1


async def test_a_seal_that_one_replica_alone_has_is_no_majority() -> None:
    grid = RowsGrid()
    put(grid, b"n", grid.plain(), 0, 1)
    grid.seal(SHARD, grid.replicas(SHARD)[2])
    sync: Sync = grid.sync()
    await run(sync)
    rows = [grid.tell(device, Read(SHARD, SEAL_NAME)) for device in grid.replicas(SHARD)]
    assert all(isinstance(row, Row) and row.sealed for row in rows)
    assert len(set(held(grid, b"n"))) == 1


def test_gifts_by_hand() -> None:
    v = [bytes([number]) * 32 for number in range(5)]
    three = [{b"a": v[3], b"b": v[1]}, {b"a": v[2]}, {b"a": v[1], b"b": v[1], b"c": v[4]}]
    assert gifts(three) == [
        Gift(b"a", v[3], (0,), (1, 2)),
        Gift(b"b", v[1], (0, 2), (1,)),
        Gift(b"c", v[4], (2,), (0, 1)),
    ]
    assert sealed_gifts(three, 3) == [Gift(b"a", v[2], (1,), (2,)), Gift(b"b", v[1], (0, 2), (1,))]
    assert sealed_gifts(three[:2], 3) == []
    assert sealed_gifts(three[:1], 3) == []


async def aged(grid: RowsGrid, sync: Sync, hours: float) -> None:
    """Rounds until so much time is over."""
    for _ in range(4):
        assert isinstance(grid.clock, SetClock)
        grid.clock.seconds += hours * 900
        await run(sync)


async def test_a_version_that_one_replica_alone_had_and_lost_is_given_up_in_time() -> None:
    grid = RowsGrid()
    older, newer = grid.plain(), grid.plain()
    put(grid, b"name", older, 0, 1, 2)
    put(grid, b"name", newer, 1)
    put(grid, b"only", newer, 1)
    broken = grid.replicas(SHARD)[1]
    broken.corrupt_row(SHARD, b"name")
    broken.corrupt_row(SHARD, b"only")
    sync = grid.sync()
    await run(sync)
    await aged(grid, sync, 1.0)
    assert held(grid, b"name") == [older, newer, older]
    await aged(grid, sync, 1.0)
    assert held(grid, b"name") == [older] * 3
    assert held(grid, b"only") == [b""] * 3
    assert grid.known(broken, SHARD)[b"name"][1] == payload_of(older)


@pytest.mark.parametrize("why", ["a majority has it", "one is away"])
async def test_a_damaged_version_that_may_have_been_acknowledged_is_kept(why: str) -> None:
    grid = RowsGrid()
    older, newer = grid.plain(), grid.plain()
    put(grid, b"name", older, 0, 1, 2)
    put(grid, b"name", newer, 1, 2)
    for device in grid.replicas(SHARD)[1:]:
        device.corrupt_row(SHARD, b"name")
    if why == "one is away":
        grid.replicas(SHARD)[2].go_offline()
    sync = grid.sync()
    await run(sync)
    await aged(grid, sync, 4.0)
    grid.replicas(SHARD)[2].go_online()
    assert held(grid, b"name") == [older, newer, newer]
