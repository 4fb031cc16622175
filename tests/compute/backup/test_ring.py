"""Backups of volumes that live in the object store, by what their driver says has changed."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from compute.backup.vault import Copy, Vault
from compute.nbd.server import NbdServer
from compute.objects.memory import MemoryStore
from compute.site import Site
from compute.volume.drivers.ring.driver import RingDriver
from runtime.randomness import SystemRandomness
from tests.compute.backup.site import MIB, noise

SIZE = 512 * MIB


@pytest.fixture
async def driver(site: Site) -> AsyncIterator[RingDriver]:
    made = RingDriver(site.objects, NbdServer(), SystemRandomness())
    yield made
    await made.close()


async def _written(driver: RingDriver, *parts: tuple[int, bytes]) -> None:
    async with driver.open("v", writable=True) as disk:
        for offset, data in parts:
            await disk.write(offset, data)
        await disk.flush()


def _stored(site: Site, copy: Copy) -> int:
    objects = cast(MemoryStore, site.objects).containers[copy.container]
    return sum(len(found.data) for found in objects.values())


async def test_snapshot_after_snapshot_and_back(site: Site, driver: RingDriver) -> None:
    vault = Vault(site)
    await driver.create("v", SIZE)
    await _written(driver, (5 * MIB, noise(8 * MIB, 1)), (400 * MIB, noise(2 * MIB, 2)))
    await driver.snapshot("s1", "v")
    async with driver.open_snapshot("s1", "v") as disk:
        first = await vault.take("one", "p", disk)
    before = _stored(site, first)
    assert before <= 1.1 * 10 * MIB
    await _written(driver, (6 * MIB + 4096, noise(8192, 3)), (300 * MIB, noise(4096, 4)))
    async with driver.open("v", writable=True) as disk:
        await disk.zero(400 * MIB, 2 * MIB)
    await driver.snapshot("s2", "v")
    changed = await driver.changed("s2", "s1", "v")
    assert changed
    async with driver.open_snapshot("s2", "v") as disk:
        second = await vault.take("two", "p", disk, parent_id="one", changed=changed)
        wanted = await disk.read(0, 16 * MIB), await disk.read(300 * MIB, 102 * MIB)
    assert _stored(site, second) - before < 200_000
    await driver.create("w", SIZE)
    async with driver.open("w", writable=True) as disk:
        await vault.restore(second, disk, is_blank=True)
        assert (await disk.read(0, 16 * MIB), await disk.read(300 * MIB, 102 * MIB)) == wanted
        assert sum([part.length async for part in disk.extents(0, SIZE) if part.data]) <= 24 * MIB
        await vault.restore(first, disk, is_blank=False)
        assert await disk.read(5 * MIB, 8 * MIB) == noise(8 * MIB, 1)
        assert await disk.read(400 * MIB, 2 * MIB) == noise(2 * MIB, 2)
        assert await disk.read(300 * MIB, MIB) == bytes(MIB)
