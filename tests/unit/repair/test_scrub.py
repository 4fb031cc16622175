"""Scrubbing reads everything, finds what is bad, keeps its place and ends in time."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from proxy.core.store import CoreStore
from proxy.repair.contract import Worked
from proxy.repair.scrub import EARLY, LEFT_MIN_S, Scrubber, pace_bytes_s
from runtime.disk import RealDisk
from storage.device.scrub_file import ScrubFile
from storage.memory import MemoryDevice
from storage.types import BlobHeader, BlobName
from tests.grid import BytesBody, throttle
from tests.property.core.world import World, run
from tests.property.repair.store_world import PLAIN, Mark

DAY_S = 86400.0
HOUR_S = 3600.0
LARGE = b"abcd" * 50_000


def scrubber(
    world: World, store: CoreStore, device: MemoryDevice, mark: Mark, period_s: float, lost: list[int]
) -> Scrubber:
    return Scrubber(
        device,
        device,
        store.rows,
        lambda: world.ring,
        mark,
        world.clock,
        throttle(world.clock).pace(),
        period_s,
        lambda: lost.append(device.device_id),
    )


async def stocked() -> tuple[World, CoreStore]:
    world = World()
    store = world.proxy()
    container = await store.create_container("a", "c")
    for number in range(12):
        await store.put_object(container, f"large{number}", BytesBody(LARGE), PLAIN)
        await store.put_object(container, f"small{number}", BytesBody(b"small"), PLAIN)
    return world, store


async def to_the_end(worker: Scrubber) -> None:
    while await worker.work() is not Worked.IDLE:
        continue


def test_every_bad_blob_and_row_is_found_and_rows_are_healed() -> None:
    async def scene() -> None:
        world, store = await stocked()
        device = world.devices[1]
        names = [entry.header.name for entry in await device.list_blobs(None, 100)]
        for name in names[::2]:
            device.corrupt_blob(name)
        bad = [(key, name) for key, shard in device._shards.items() for name in shard.rows if name]
        for key, name in bad[::3]:
            device.corrupt_row(key, name)
        lost: list[int] = []
        worker = scrubber(world, store, device, Mark(), DAY_S, lost)
        await to_the_end(worker)
        counts = worker.status().counts
        assert counts == {
            "blobs_damaged": len(names[::2]),
            "rows_damaged": len(bad[::3]),
            "rows_healed": len(bad[::3]),
        }
        assert sorted(device.quarantine, key=str) == sorted(names[::2], key=str)
        assert lost == [1] * len(names[::2])
        await asyncio.sleep(1)
        assert device._corrupt_rows == set()

    run(scene())


def test_a_round_ends_at_its_date_and_the_next_begins_a_period_later() -> None:
    async def scene() -> None:
        world, store = await stocked()
        device = world.devices[0]
        device._blobs.update(
            {
                (bytes([n]) * 16, 0): (header, bytes(40_000_000))
                for n in range(1, 30)
                for header in [_header(device, n)]
            }
        )
        worker = scrubber(world, store, device, Mark(), HOUR_S, [])
        begun = asyncio.get_running_loop().time()
        await worker.work()
        eta_s = worker.status().eta_s
        assert eta_s is not None
        await to_the_end(worker)
        took_s = asyncio.get_running_loop().time() - begun
        assert 0.5 * HOUR_S <= took_s <= HOUR_S
        assert abs(eta_s - world.clock.now_ns() / 1e9) < 0.1 * HOUR_S
        assert await worker.work() is Worked.IDLE
        assert worker.status().eta_s is None
        await asyncio.sleep(HOUR_S - took_s + 1)
        assert await worker.work() is Worked.BUSY

    run(scene())


def test_an_operator_need_not_wait_for_the_date() -> None:
    async def scene() -> None:
        world, store = await stocked()
        worker = scrubber(world, store, world.devices[0], Mark(), DAY_S, [])
        await to_the_end(worker)
        first = worker.status()
        begun = asyncio.get_running_loop().time()
        assert await worker.work() is Worked.IDLE
        worker.hurry()
        await to_the_end(worker)
        assert asyncio.get_running_loop().time() - begun < 1.0
        assert worker.status().since_s > first.since_s
        assert worker.status().done == first.done
        assert await worker.work() is Worked.IDLE

    run(scene())


def _header(device: MemoryDevice, number: int) -> BlobHeader:

    some = next(iter(device._blobs.values()))[0]
    return msgspec.structs.replace(some, name=BlobName(bytes([number]) * 16, 0))


def test_it_claims_no_more_than_it_has_read() -> None:
    async def scene() -> None:
        world, store = await stocked()
        worker = scrubber(world, store, world.devices[0], Mark(), DAY_S, [])
        assert worker.status().doing == "nothing was read yet"
        await to_the_end(worker)
        doing = worker.status().doing
        assert doing == "what was stored before 2023-11-14 22:13 UTC was read and is sound"

    run(scene())


def test_a_restart_goes_on_where_it_was() -> None:
    async def scene() -> None:
        world, store = await stocked()
        device, mark = world.devices[2], Mark()
        first = scrubber(world, store, device, mark, DAY_S, [])
        await first.work()
        done = first.status().done
        assert done > 0
        second = scrubber(world, store, device, mark, DAY_S, [])
        await second.work()
        assert second.status().done >= done
        assert second.status().since_s == first.status().since_s
        await to_the_end(second)
        whole = second.status().done
        mark.data = b"\xff damaged"
        third = scrubber(world, store, device, mark, DAY_S, [])
        await to_the_end(third)
        assert third.status().done == whole

    run(scene())


@pytest.mark.parametrize(
    ("left_bytes", "passed_s", "expected"),
    [
        (10**9, 0.0, 10**9 / (14 * DAY_S * EARLY)),
        (10**9, 14 * DAY_S, 10**9 / LEFT_MIN_S),
        (10**9, 99 * DAY_S, 10**9 / LEFT_MIN_S),
    ],
)
def test_the_pace_is_what_is_left_by_the_time_left(
    left_bytes: int, passed_s: float, expected: float
) -> None:
    found = pace_bytes_s(left_bytes, 1000.0, 1000.0 + passed_s, 14 * DAY_S)
    assert found == pytest.approx(max(expected, 256 * 1024))


async def test_the_file_keeps_the_last_mark_and_owns_up_to_damage(tmp_path: Path) -> None:
    file = ScrubFile(RealDisk(), str(tmp_path))
    assert await file.load() == b""
    await file.save(b"one")
    await file.save(b"two")
    assert await file.load() == b"two"
    path = tmp_path / "scrub"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert await file.load() == b""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scrub"]


class Late:
    """A device whose blobs are deleted between their listing and their reading."""

    def __init__(self, device: MemoryDevice) -> None:
        self.device = device

    async def verify_blob(self, name: BlobName) -> bool:
        await self.device.delete_blob(name, 1e18)
        return await self.device.verify_blob(name)


def test_what_was_deleted_before_its_turn_is_no_damage() -> None:
    async def scene() -> None:
        world, store = await stocked()
        device, lost = world.devices[1], list[int]()
        worker = scrubber(world, store, device, Mark(), DAY_S, lost)
        worker._verifier = Late(device)
        await to_the_end(worker)
        assert device._blobs == {}
        assert (worker.status().counts["blobs_damaged"], lost) == (0, [])

    run(scene())


def test_a_clock_that_was_years_ahead_does_not_end_scrubbing() -> None:
    async def scene() -> None:
        world, store = await stocked()
        device, mark = world.devices[0], Mark()
        world.clock.ahead_s = 1000 * DAY_S
        worker = scrubber(world, store, device, mark, DAY_S, [])
        await worker.work()
        world.clock.ahead_s = 0.0  # in the middle of a round
        await to_the_end(scrubber(world, store, device, mark, DAY_S, []))
        world.clock.ahead_s = 1000 * DAY_S  # a whole one
        again = scrubber(world, store, device, mark, DAY_S, [])
        await to_the_end(again)
        world.clock.ahead_s = 0.0
        assert await again.work() is Worked.BUSY
        assert again.status().since_s <= world.clock.now_ns() / 1e9

    run(scene())
