"""A `ring` volume beside an array of bytes: what was answered is there, whoever dies or takes over."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.nbd.server import NbdServer
from compute.objects.errors import StoreAway
from compute.objects.memory import MemoryStore
from compute.volume.drivers.contract import ImageSource, Piece
from compute.volume.drivers.errors import Busy, Fenced
from compute.volume.drivers.ring.driver import CONTAINER, RingDriver
from compute.volume.drivers.ring.layers import EXTENT_BYTES
from runtime.randomness import SystemRandomness
from tests.compute.volume.ring.processes import Dead, Process

SIZE: Final = 2 * EXTENT_BYTES + 1_000_000


class World:
    """A store, the process that is alive, and what each volume and snapshot must be."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store = MemoryStore()
        self.volumes: dict[str, bytearray] = {}
        self.snapshots: dict[str, tuple[str, bytes]] = {}
        self.is_torn = False
        self.start()

    def start(self) -> None:
        """A new process."""
        self.process = Process(self.store, self.chance)
        self.driver = RingDriver(self.process, NbdServer(), SystemRandomness())

    def range_of(self, volume: str) -> tuple[int, int]:
        """Somewhere in a volume: often across extents, often small."""
        size = len(self.volumes[volume])
        length = self.chance.choice([1, 4096, 65536, 300_000, EXTENT_BYTES])
        near = self.chance.choice([self.chance.randrange(size), EXTENT_BYTES - length // 2])
        start = max(0, min(near, size - 1))
        return start, min(length, size - start)

    def bytes_of(self, length: int) -> bytes:
        """Not zeroes."""
        return bytes([self.chance.randrange(1, 256)]) * length

    async def check(self, volume: str) -> None:
        """All bytes, and that holes are zeroes."""
        model = self.volumes[volume]
        async with self.driver.open(volume, writable=False) as disk:
            assert disk.size_bytes == len(model)
            assert await disk.read(0, len(model)) == model
            at = 0
            async for extent in disk.extents(0, len(model)):
                assert extent.offset == at
                at += extent.length
                assert extent.data or not any(model[extent.offset : at])
            assert at == len(model)

    async def check_snapshot(self, snapshot: str) -> None:
        """All bytes."""
        volume, kept = self.snapshots[snapshot]
        async with self.driver.open_snapshot(snapshot, volume) as disk:
            assert await disk.read(0, len(kept)) == kept

    # -- what may happen --

    async def write(self, volume: str) -> None:
        start, length = self.range_of(volume)
        data = self.bytes_of(length)
        async with self.driver.open(volume, writable=True) as disk:
            await disk.write(start, data)
            self.volumes[volume][start : start + length] = data
            assert await disk.read(start, length) == data

    async def zero(self, volume: str) -> None:
        start, length = self.range_of(volume)
        async with self.driver.open(volume, writable=True) as disk:
            await disk.zero(start, length)
        self.volumes[volume][start : start + length] = bytes(length)

    async def many(self, volume: str) -> None:
        """Writes at once, to places of their own."""
        part = len(self.volumes[volume]) // 16
        async with self.driver.open(volume, writable=True) as disk:
            works: list[Awaitable[None]] = []
            for number in self.chance.sample(range(16), 8):
                data = self.bytes_of(self.chance.randrange(1, part))
                works.append(disk.write(number * part, data))
                self.volumes[volume][number * part : number * part + len(data)] = data
            await asyncio.gather(*works)

    async def extend(self, volume: str) -> None:
        grown = self.chance.choice([1, 500_000, EXTENT_BYTES])
        if len(self.volumes[volume]) < 2 * SIZE:
            await self.driver.extend(volume, len(self.volumes[volume]) + grown)
            self.volumes[volume] += bytes(grown)

    async def snapshot(self, volume: str) -> None:
        name = f"snapshot-{len(self.snapshots)}-{self.chance.randrange(10**9)}"
        await self.driver.snapshot(name, volume)
        self.snapshots[name] = (volume, bytes(self.volumes[volume]))

    async def delete_snapshot(self, volume: str) -> None:
        mine = [name for name, (of, _) in self.snapshots.items() if of == volume]
        if mine:
            await self.driver.delete_snapshot(mine[0], volume)
            del self.snapshots[mine[0]]

    async def revert(self, volume: str) -> None:
        mine = [name for name, (of, _) in self.snapshots.items() if of == volume]
        if mine and len(self.snapshots[mine[-1]][1]) == len(self.volumes[volume]):
            await self.driver.revert(volume, mine[-1])
            self.volumes[volume][:] = self.snapshots[mine[-1]][1]

    async def clone(self, volume: str) -> None:
        if len(self.volumes) < 4:
            name = f"clone-{len(self.volumes)}-{self.chance.randrange(10**9)}"
            size = len(self.volumes[volume]) + self.chance.choice([0, 100_000])
            await self.driver.clone(name, volume, size)
            self.volumes[name] = bytearray(self.volumes[volume]).ljust(size, b"\0")

    async def copy_in_use(self, volume: str) -> None:
        """A clone and a snapshot of a volume that is written on, read before anything is folded.

        At times the process dies then; what the copies hold is with them all the same.
        """
        if len(self.volumes) >= 4:
            return
        opened = self.driver.open(volume, writable=True)
        disk = await opened.__aenter__()
        for _ in range(3):
            start, length = self.range_of(volume)
            data = self.bytes_of(length)
            await disk.write(start, data)
            self.volumes[volume][start : start + length] = data
        await self.clone(volume)
        await self.snapshot(volume)
        start, length = self.range_of(volume)
        await disk.zero(start, length)
        self.volumes[volume][start : start + length] = bytes(length)
        await self.check_snapshot(list(self.snapshots)[-1])
        await self.check(list(self.volumes)[-1])
        if self.chance.random() < 0.5:
            self.is_torn = True
            self.process.die()
            self.start()
            await self.check_snapshot(list(self.snapshots)[-1])
            await self.check(list(self.volumes)[-1])
        else:
            await opened.__aexit__(None, None, None)

    async def from_snapshot(self, volume: str) -> None:
        if self.snapshots and len(self.volumes) < 4:
            snapshot = self.chance.choice(sorted(self.snapshots))
            kept = self.snapshots[snapshot][1]
            name = f"made-{len(self.volumes)}-{self.chance.randrange(10**9)}"
            await self.driver.create_from_snapshot(name, snapshot, len(kept))
            self.volumes[name] = bytearray(kept)

    async def delete(self, volume: str) -> None:
        if any(of == volume for of, _ in self.snapshots.values()):
            with pytest.raises(Busy):
                await self.driver.delete(volume)
        elif len(self.volumes) > 1:
            await self.driver.delete(volume)
            await self.driver.delete(volume)
            del self.volumes[volume]

    async def die(self, volume: str) -> None:
        """The process dies amidst writes; each that was answered is there, each other may be."""
        self.is_torn = True
        part = len(self.volumes[volume]) // 16
        opened = self.driver.open(volume, writable=True)
        disk = await opened.__aenter__()
        answered: dict[int, bytes] = {}
        tried: dict[int, bytes] = {}

        async def write(number: int) -> None:
            tried[number] = self.bytes_of(self.chance.randrange(1, part))
            await disk.write(number * part, tried[number])
            answered[number] = tried[number]

        tasks = [asyncio.ensure_future(write(n)) for n in self.chance.sample(range(16), 10)]
        for _ in range(self.chance.randrange(60)):
            await asyncio.sleep(0)
        self.process.die()
        await end(*tasks)
        self.start()
        await self.check_after(volume, part, tried, answered)

    async def lose_it(self, volume: str) -> None:
        """Another process takes the volume over while the first writes on, which must notice."""
        self.is_torn = True
        part = len(self.volumes[volume]) // 16
        opened = self.driver.open(volume, writable=True)
        disk = await opened.__aenter__()
        answered: dict[int, bytes] = {}
        tried: dict[int, bytes] = {}
        taken = False

        async def write_on() -> None:
            for number in itertools.cycle(range(16)):  # until it is told
                if number in answered:
                    start = number * part
                    self.volumes[volume][start : start + part // 2] = answered.pop(number)
                tried[number] = self.bytes_of(part // 2)
                sure = taken
                try:
                    await disk.write(number * part, tried[number])
                except Fenced:
                    return
                assert not sure, "answered by a writer that was fenced off before"
                answered[number] = tried[number]
                for _ in range(self.chance.randrange(4)):
                    await asyncio.sleep(0)

        first = self.process
        writing = asyncio.ensure_future(write_on())
        for _ in range(self.chance.randrange(60)):
            await asyncio.sleep(0)
        self.start()
        async with self.driver.open(volume, writable=True):
            taken = True
            await asyncio.wait([writing])
        writing.result()
        await self.check_after(volume, part, tried, answered)
        first.die()

    async def check_after(
        self, volume: str, part: int, tried: dict[int, bytes], answered: dict[int, bytes]
    ) -> None:
        model = self.volumes[volume]
        async with self.driver.open(volume, writable=False) as disk:
            for number, data in tried.items():
                start = number * part
                found = await disk.read(start, len(data))
                old = bytes(model[start : start + len(data)])
                assert found == data or (number not in answered and found == old), number
                model[start : start + len(data)] = found
        await self.check(volume)


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Tasks of a dead process."""
    done, pending = await asyncio.wait(tasks, timeout=0.05)
    for task in pending:
        task.cancel()
    for task in [*done, *pending]:
        with contextlib.suppress(Dead, asyncio.CancelledError, Fenced, StoreAway):
            await task


OPERATIONS: Final = (
    *("write", "write", "write", "zero", "many", "many", "extend", "snapshot", "delete_snapshot"),
    *("revert", "clone", "copy_in_use", "from_snapshot", "delete", "die", "lose_it"),
)


async def play(seed: int, steps: list[str]) -> None:
    world = World(seed)
    await world.store.make_container(CONTAINER)
    await world.driver.create("first", SIZE)
    world.volumes["first"] = bytearray(SIZE)
    for step in steps:
        volume = world.chance.choice(sorted(world.volumes))
        await getattr(world, step)(volume)
    for volume in world.volumes:
        await world.check(volume)
    for snapshot in world.snapshots:
        await world.check_snapshot(snapshot)
    for snapshot, (volume, _) in world.snapshots.items():
        await world.driver.delete_snapshot(snapshot, volume)
    for volume in world.volumes:
        await world.driver.delete(volume)
    left = sorted(world.store.containers[CONTAINER])
    assert world.is_torn or not left, left
    await world.driver.close()


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=14))
def test_what_was_answered_is_there(seed: int, steps: list[str]) -> None:
    asyncio.run(play(seed, steps))


async def test_a_volume_on_a_raw_image_copies_nothing() -> None:
    world = World(1)
    image = bytes(range(256)) * 20_000
    await world.store.make_container("images")
    await world.store.put("images", "a", image[:3_000_000])
    await world.store.put("images", "b", image[3_000_000:])
    pieces = (
        Piece("images", "a", 0, 3_000_000),
        Piece("images", "b", 0, len(image) - 3_000_000),
    )

    async def read() -> Any:
        yield image

    source = ImageSource("i", "raw", len(image), len(image), pieces, read)
    await world.driver.create_from_image("v", source, SIZE)
    assert sum(len(made.data) for made in world.store.containers[CONTAINER].values()) < 1000
    world.volumes["v"] = bytearray(image).ljust(SIZE, b"\0")
    await world.check("v")
    await world.write("v")
    await world.check("v")
    await world.clone("v")
    for volume in world.volumes:
        await world.check(volume)


async def test_what_changed_between_snapshots() -> None:
    world = World(2)
    await world.driver.create("v", 10 * EXTENT_BYTES)
    async with world.driver.open("v", writable=True) as disk:
        await disk.write(0, b"x" * 100)
        await disk.write(5 * EXTENT_BYTES, b"x" * 100)
    await world.driver.snapshot("one", "v")
    async with world.driver.open("v", writable=True) as disk:
        await disk.write(7 * EXTENT_BYTES - 1, b"xx")
        await disk.zero(0, EXTENT_BYTES)
    await world.driver.snapshot("two", "v")
    changed = await world.driver.changed("two", "one", "v")
    assert changed is not None
    assert [(extent.offset // EXTENT_BYTES, extent.data) for extent in changed] == [
        (0, False),
        (6, True),
        (7, True),
    ]
    assert await world.driver.changed("one", "two", "v") is None


async def test_a_second_writer_of_the_same_process_is_refused() -> None:
    world = World(3)
    await world.driver.create("v", SIZE)
    async with world.driver.open("v", writable=True):
        with pytest.raises(Busy):
            async with world.driver.open("v", writable=True):
                pass
        with pytest.raises(Busy):
            await world.driver.delete("v")
