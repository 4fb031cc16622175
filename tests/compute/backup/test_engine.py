"""Copies of disks: what is stored, what comes back, what goes when copies go."""

from typing import cast

import pytest

from compute.backup.errors import Damaged, NoSuchCopy, TakenOver
from compute.backup.format import REGION_BYTES
from compute.backup.vault import Copy, Vault
from compute.objects.memory import MemoryStore, _Object
from compute.site import Site
from compute.volume.drivers.contract import Extent
from runtime.errors import AtollError
from tests.compute.backup.disk import MemoryDisk
from tests.compute.backup.site import MIB, names, noise, site_on, stored_bytes

GIB = 1024 * MIB


async def restored(vault: Vault, copy: Copy, size: int) -> MemoryDisk:
    """What a blank disk holds then."""
    disk = MemoryDisk(size)
    await vault.restore(copy, disk, is_blank=True)
    assert disk.flushed
    return disk


async def written(size: int, *parts: tuple[int, bytes]) -> MemoryDisk:
    disk = MemoryDisk(size)
    for offset, data in parts:
        await disk.write(offset, data)
    return disk


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def vault(site: Site, request: pytest.FixtureRequest) -> Vault:
    return Vault(site, encrypts=request.param)


async def test_only_what_is_allocated_is_read_and_stored_once(site: Site, vault: Vault) -> None:
    data = noise(20 * MIB, 1)
    disk = await written(100 * GIB, (3 * GIB + 5000, data[: 12 * MIB]), (99 * GIB, data[12 * MIB :]))
    allocated = sum([extent.length async for extent in disk.extents(0, disk.size_bytes) if extent.data])
    copy = await vault.take("one", "p", disk)
    assert disk.read_bytes == allocated
    assert stored_bytes(site) <= 1.1 * len(data)
    assert (await restored(vault, copy, disk.size_bytes)).content() == disk.content()
    before = stored_bytes(site)
    await vault.take("two", "p", disk)
    assert stored_bytes(site) - before < 1000
    await vault.take("theirs", "q", disk)
    assert stored_bytes(site) > 2 * before, "nothing is shared between projects"


async def test_an_incremental_copy_stores_what_changed(site: Site, vault: Vault) -> None:
    disk = await written(GIB, (0, noise(48 * MIB, 2)))
    first = await vault.take("one", "p", disk)
    kept = await restored(vault, first, GIB)
    before = stored_bytes(site)
    for number in range(640):  # 10 MiB of changes, 16 KiB each, all over it
        await disk.write((number * 19 % 768) * 65536 + 4096, noise(16384, 100 + number))
    await disk.zero(40 * MIB, 2 * MIB)
    second = await vault.take("two", "p", disk, parent_id="one")
    assert stored_bytes(site) - before <= 12 * MIB
    assert (await restored(vault, second, GIB)).content() == disk.content()
    assert (await restored(vault, first, GIB)).content() == kept.content()


async def test_many_increments_of_one_region_are_written_anew_in_time(site: Site) -> None:
    vault, disk, parent = Vault(site), await written(MIB, (0, noise(MIB, 3))), None
    for number in range(40):
        await disk.write(number * 8192, noise(4096, 200 + number))
        copy = await vault.take(f"c{number}", "p", disk, parent_id=parent)
        parent = f"c{number}"
    assert (await restored(vault, copy, MIB)).content() == disk.content()
    for number in range(39):
        await vault.drop(f"c{number}")
    await vault.sweep()
    assert stored_bytes(site) < 3 * MIB
    assert (await restored(vault, copy, MIB)).content() == disk.content()


async def test_what_the_driver_says_has_not_changed_is_not_read(vault: Vault) -> None:
    disk = await written(GIB, (0, noise(6 * MIB, 4)), (500 * MIB, noise(MIB, 5)))
    await vault.take("one", "p", disk)
    await disk.write(MIB + 7, b"new")
    await disk.zero(4 * MIB, MIB)
    await disk.write(900 * MIB, b"more")
    disk.read_bytes = 0
    changed = [
        Extent(MIB, 4096, True),
        Extent(4 * MIB, MIB, False),
        Extent(900 * MIB, 4096, True),
    ]
    copy = await vault.take("two", "p", disk, parent_id="one", changed=changed)
    assert disk.read_bytes == REGION_BYTES + 4096
    assert (await restored(vault, copy, GIB)).content() == disk.content()


async def test_into_a_volume_with_other_content_and_it_stays_thin(vault: Vault) -> None:
    source = await written(256 * MIB, (MIB + 100, noise(3 * MIB, 6)), (200 * MIB, noise(5000, 7)))
    copy = await vault.take("one", "p", source)
    target = await written(512 * MIB, (0, noise(6 * MIB, 8)), (199 * MIB, noise(2 * MIB, 9)))
    beyond = noise(MIB, 10)
    await target.write(300 * MIB, beyond)
    await vault.restore(copy, target, is_blank=False)
    assert target.bytes_of(0, 256 * MIB) == source.bytes_of(0, 256 * MIB)
    assert target.bytes_of(300 * MIB, MIB) == beyond
    assert len(target.units) <= len(source.units) + MIB // 4096


async def test_sizes_that_end_within_a_block(vault: Vault) -> None:
    size = 3 * MIB + 4096 + 77
    disk = await written(size, (size - 5000, noise(5000, 11)))
    copy = await vault.take("one", "p", disk)
    assert (await restored(vault, copy, size)).content() == disk.content()
    empty = await vault.take("empty", "p", MemoryDisk(size))
    assert (await restored(vault, empty, size)).content() == {}


async def test_what_changed_in_the_store_is_seen(site: Site, vault: Vault) -> None:
    disk = await written(64 * MIB, (0, noise(2 * MIB, 12)))
    copy = await vault.take("one", "p", disk)
    objects = cast(MemoryStore, site.objects).containers[copy.container]
    for name, found in list(objects.items()):
        for changed in (found.data[:-1] + bytes([found.data[-1] ^ 1]), found.data[:20], b""):
            objects[name] = _Object(changed, {})
            with pytest.raises(Damaged):
                await restored(vault, copy, disk.size_bytes)
        objects[name] = found
    name = next(name for name in objects if name.startswith("d/"))
    del objects[name]
    with pytest.raises(Damaged):
        await restored(vault, copy, disk.size_bytes)


async def test_copies_go_one_by_one_and_nothing_is_left(site: Site, vault: Vault) -> None:
    disk = await written(64 * MIB, (0, noise(3 * MIB, 13)))
    await vault.take("one", "p", disk)
    await disk.write(0, noise(MIB, 14))
    second = await vault.take("two", "p", disk, parent_id="one")
    before = names(site)
    await vault.drop("one")
    assert await vault.sweep() > 0
    assert names(site) < before
    assert (await restored(vault, second, disk.size_bytes)).content() == disk.content()
    await vault.drop("two")
    await vault.drop("two")
    await vault.sweep()
    assert names(site) == set()
    assert await vault.sweep() == 0


async def test_another_copy_of_the_same_bytes(site: Site, vault: Vault) -> None:
    disk = await written(64 * MIB, (0, noise(3 * MIB, 15)))
    copy = await vault.take("one", "p", disk)
    twin = await vault.adopt("twin", "p", copy)
    assert twin == copy._replace(copy_id="twin")
    assert await vault.adopt("twin", "p", copy) == twin
    assert await vault.adopt("theirs", "q", copy) == copy
    await vault.drop("one")
    await vault.sweep()
    assert (await restored(vault, twin, disk.size_bytes)).content() == disk.content()
    with pytest.raises(NoSuchCopy):
        await vault.adopt("more", "p", copy)
    stranger = Vault(site_on(site.database, site.objects, b"t" * 32))
    with pytest.raises(AtollError):
        await stranger.restore(twin, MemoryDisk(disk.size_bytes), is_blank=True)


async def test_one_that_was_dropped_meanwhile_writes_no_more(site: Site) -> None:
    vault = Vault(site)
    disk = await written(256 * MIB, *((64 * MIB * page, noise(MIB, page)) for page in range(4)))
    read = disk.read

    async def dropped(offset: int, length: int) -> bytes:
        await vault.drop("one")
        return await read(offset, length)

    disk.read = dropped  # type: ignore[method-assign]
    with pytest.raises(TakenOver):
        await vault.take("one", "p", disk)
    await vault.sweep()
    assert names(site) == set()


async def test_one_that_broke_off_goes_on_where_it_was(site: Site, vault: Vault) -> None:
    disk = await written(640 * MIB, *((64 * MIB * page, noise(MIB, page)) for page in range(10)))
    read, calls = disk.read, 0

    async def breaks(offset: int, length: int) -> bytes:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise ConnectionError
        return await read(offset, length)

    disk.read = breaks  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await vault.take("one", "p", disk)
    disk.read = read  # type: ignore[method-assign]
    disk.read_bytes = 0
    copy = await vault.take("one", "p", disk, goes_on=True)
    assert 0 < disk.read_bytes < 10 * MIB
    assert (await restored(vault, copy, disk.size_bytes)).content() == disk.content()
    with pytest.raises(NoSuchCopy):
        await vault.restore(copy._replace(copy_id="none"), disk, is_blank=True)
