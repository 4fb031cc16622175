"""What crashed writers and owners leave behind, and what is left alone."""

import asyncio

from storage.device.blob_files import StagedBlob
from storage.device.blob_sweep import ORPHAN_GRACE_S, STAGING_GRACE_S
from tests.unit.blobs.doors import Device


async def test_an_orphan_goes_when_it_is_old(device: Device) -> None:
    kept, orphan = await device.put(b"kept"), await device.put(b"orphan", device.header(1))
    del device.index.entries[orphan]
    device.clock.seconds += ORPHAN_GRACE_S - 1
    assert await device.blobs.sweep.shelf(0xAB) == []
    assert device.path(orphan).exists()
    device.clock.seconds += 1
    assert await device.blobs.sweep.shelf(0xAC) == []
    assert await device.blobs.sweep.shelf(0xAB) == [orphan]
    assert not device.path(orphan).exists()
    assert await device.get(kept) == b"kept"


async def test_an_unreadable_orphan_is_kept_for_the_operator(device: Device) -> None:
    orphan = await device.put(b"orphan")
    del device.index.entries[orphan]
    device.path(orphan).write_bytes(b"not a blob")
    assert await device.blobs.sweep.shelf(0xAB) == [orphan]
    assert device.files("blobs") == []
    assert len(device.files("quarantine")) == 1


async def test_foreign_files_are_left_alone(device: Device) -> None:
    await device.put(b"kept")
    foreign = [device.path(device.header().name).with_name("README"), device.root / "staging" / "x.y"]
    for path in foreign:
        path.write_text("the operator's")
    device.clock.seconds += 10 * ORPHAN_GRACE_S
    assert await device.blobs.sweep.shelf(0xAB) == []
    assert await device.blobs.sweep.staging() == []
    assert await device.blobs.sweep.clear_staging() == []
    assert all(path.exists() for path in foreign)


async def test_a_dead_writers_file_goes_a_living_ones_stays(device: Device) -> None:
    dead = StagedBlob(str(device.root), device.disk, device.executor, device.header(1))
    await dead.finish()
    assert await device.blobs.sweep.staging() == []
    device.clock.seconds += STAGING_GRACE_S - 1
    living = StagedBlob(str(device.root), device.disk, device.executor, device.header(2))
    await living.write(b"data")
    await living.finish()
    assert await device.blobs.sweep.staging() == []
    device.clock.seconds += 1
    assert await device.blobs.sweep.staging() == [dead.name]
    await device.blobs.adopt(living.name)
    assert await device.get(living.name) == b"data"
    device.clock.seconds += STAGING_GRACE_S
    assert await device.blobs.sweep.staging() == []


async def test_sweeping_beside_adoptions_and_deletes_loses_nothing(device: Device) -> None:
    headers = [device.header(number) for number in range(20)]
    device.clock.seconds += 2 * ORPHAN_GRACE_S

    async def live(number: int) -> None:
        await device.put(b"%d" % number, headers[number])
        if number % 2:
            await device.blobs.delete(headers[number].name)

    async def sweep() -> list[int]:
        return [name.number for _ in range(10) for name in await device.blobs.sweep.shelf(0xAB)]

    swept, _ = await asyncio.gather(sweep(), asyncio.gather(*(live(number) for number in range(20))))
    assert [number for number in swept if number % 2 == 0] == []
    for number in range(0, 20, 2):
        assert await device.get(headers[number].name) == b"%d" % number
    assert len(device.files("blobs")) == 10
