"""A store with repair workers on every device, its clients, and what befalls it, all from one seed."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any

from proxy.core.blobs import Blobs
from proxy.core.errors import NoSuchObject, StoreError
from proxy.core.owners import Owners
from proxy.core.store import CoreStore
from proxy.core.types import Blob, Container, ListQuery, ObjectAttributes, ObjectInfo
from proxy.repair.audit import Auditor
from proxy.repair.collect import Collector
from proxy.repair.contract import Worked, Worker
from proxy.repair.rebalance import Rebalancer
from proxy.repair.rebuild import Rebuilder
from proxy.repair.scrub import Scrubber
from ring.epochs import doubled, joint_placements, settled
from runtime.randomness import SeededRandomness
from storage.memory import MemoryDevice
from storage.types import BlobName
from tests.grid import BytesBody, throttle, whole
from tests.property.core.world import World
from tests.property.repair.rings import moved
from tests.property.repair.slow import SlowDevice

PLAIN = ObjectAttributes("text/plain")
KEYS = [f"k{number}" for number in range(6)]
SIZES = (66_000, 300_000, 1_100_000)
DEVICES = 8

GRACE_S = 3.0
"""Longer than any read here takes."""

ORPHAN_GRACE_S = 20.0
"""Longer than any PUT here takes."""

AT_ONCE = 1000
"""Units of work after which workers must have come to their end."""


class Mark:
    """A scrubber's mark, in memory."""

    data = b""

    async def load(self) -> bytes:
        return self.data

    async def save(self, data: bytes) -> None:
        self.data = data


MakeRebuilder = Callable[..., Rebuilder]
MakeRebalancer = Callable[..., Rebalancer]
MakeCollector = Callable[..., Collector]
MakeAuditor = Callable[..., Auditor]


class StoreWorld(World):
    """Eight devices; the workers of all of them; two containers.

    The classes of the workers are arguments, so that tests can put in wrong ones.
    """

    def __init__(
        self,
        seed: int,
        *,
        rebuilder: MakeRebuilder = Rebuilder,
        rebalancer: MakeRebalancer = Rebalancer,
        collector: MakeCollector = Collector,
        auditor: MakeAuditor = Auditor,
        grace_s: float = GRACE_S,
    ) -> None:
        super().__init__(seed, devices=DEVICES)
        SlowDevice.chance = self.random
        self.wire = SlowDevice
        self._kinds = (rebuilder, rebalancer, collector, auditor)
        self.grace_s = grace_s
        self.expected: dict[tuple[str, str], bytes | None] = {}
        self.mistakes: list[str] = []
        self._numbers = itertools.count()

    async def begin(self) -> None:
        self.client = self.proxy()
        self.containers = [
            await self.client.create_container("a", policy, policy=policy)
            for policy in ("replicated-3", "ec-4-2")
        ]

    # -- repair ------------------------------------------------------------------------------------

    def workers(self, *, grace_s: float, orphan_grace_s: float, settle_s: float) -> list[Worker]:
        """New ones, as after a start, for all devices; rows are read through a proxy of their own."""
        rebuilder, rebalancer, collector, auditor = self._kinds
        store = self.proxy()
        placement = self.placements[-1]
        pace = throttle(self.clock).pace()
        owners = Owners(store.rows)
        blobs = Blobs(placement, self.clock, SeededRandomness(1))
        made: list[Worker] = []
        for device in self.devices:
            client = placement.devices[device.device_id]
            made += [
                rebuilder(
                    client, lambda: self.ring, placement, blobs, owners, self.clock, pace, settle_s
                ),
                rebalancer(client, lambda: self.ring, placement, self.clock, pace),
                collector(client, owners, blobs, self.clock, pace, grace_s),
                Scrubber(
                    client,
                    device,
                    store.rows,
                    lambda: self.ring,
                    Mark(),
                    self.clock,
                    throttle(self.clock).pace(),
                    1e6,
                    lambda: None,
                ),
                auditor(client, owners, self.clock, pace, grace_s, orphan_grace_s),
            ]
        return made

    async def repair_and_die(self) -> None:
        """All workers at once, until they are killed, each at some moment of its own."""
        workers = self.workers(grace_s=self.grace_s, orphan_grace_s=ORPHAN_GRACE_S, settle_s=1.0)

        async def live(worker: Worker) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.random.uniform(0.01, 4.0)):
                    while True:
                        if await worker.work() is not Worked.BUSY:
                            await asyncio.sleep(0.2)

        await asyncio.gather(*map(live, workers))

    async def repair(self, *, grace_s: float, orphan_grace_s: float, settle_s: float) -> None:
        """All workers until none finds anything more to do."""
        before: Any = None
        for _ in range(8):
            workers = self.workers(grace_s=grace_s, orphan_grace_s=orphan_grace_s, settle_s=settle_s)
            await asyncio.gather(*map(self._to_the_end, workers))
            now = await self.layout()
            if now == before:
                return
            before = now
        raise AssertionError("the workers come to no end")

    async def _to_the_end(self, worker: Worker) -> None:
        for _ in range(AT_ONCE):
            if await worker.work() is Worked.IDLE:
                return
        raise AssertionError(f"{worker.name} comes to no end: {worker.status()}")

    # -- what befalls it ---------------------------------------------------------------------------

    def wipe(self) -> None:
        """A device loses all its blobs."""
        self.random.choice(self.devices)._blobs.clear()

    def damage(self) -> None:
        """One copy or fragment of some blobs is bad or gone; the blobs are at most one short."""
        hurt: set[bytes] = set()
        for device in self.devices:
            for blob_id, number in sorted(device._blobs):
                if blob_id not in hurt and self.random.random() < 0.2:
                    hurt.add(blob_id)
                    if self.random.random() < 0.5:
                        device.corrupt_blob(BlobName(blob_id, number))
                    else:
                        del device._blobs[blob_id, number]

    def change_ring(self) -> None:
        """Seats move."""
        self.adopt(moved(self.ring, self.random, 0.5))

    def double(self) -> None:
        """Twice as many partitions."""
        if joint_placements(self.ring):
            self.adopt(settled(self.ring))
        self.adopt(doubled(self.ring))

    # -- clients -----------------------------------------------------------------------------------

    async def use(self, store: CoreStore, container: Container, keys: list[str], turns: int) -> None:
        """Put, overwrite, delete and read. Keys are one client's own, so it knows what is there."""
        for _ in range(turns):
            await asyncio.sleep(self.random.uniform(0, 1.0))
            key = self.random.choice(keys)
            at = (container.name, key)
            act = self.random.random()
            if act < 0.5:
                size = self.random.choice(SIZES)
                data = next(self._numbers).to_bytes(4, "big") * (size // 4)
                await store.put_object(container, key, BytesBody(data), PLAIN)
                self.expected[at] = data
            elif act < 0.65:
                await store.delete_object(container, key)
                self.expected[at] = None
            else:
                shown = await self.shown(store, container, key)
                if shown != self.expected.get(at):
                    self.mistakes.append(f"{at} is not what was written")

    async def watch(self, store: CoreStore, container: Container, turns: int) -> None:
        """Read slowly what others write: each read ends, with one of the values that were written."""
        for _ in range(turns):
            await asyncio.sleep(self.random.uniform(0, 0.5))
            try:
                opened = await store.open_object(container, self.random.choice(KEYS))
            except NoSuchObject:
                continue
            try:
                await asyncio.sleep(self.random.uniform(0, GRACE_S / 3))
                data = await whole(opened.stream(0, opened.info.head.size_bytes))
                if data != data[:4] * (len(data) // 4):
                    self.mistakes.append("a mixture of two values was read")
            except StoreError as error:
                self.mistakes.append(f"a reader was robbed: {error!r}")
            finally:
                opened.close()

    async def shown(self, store: CoreStore, container: Container, key: str) -> bytes | None:
        try:
            opened = await store.open_object(container, key)
        except NoSuchObject:
            return None
        try:
            return await whole(opened.stream(0, opened.info.head.size_bytes))
        finally:
            opened.close()

    # -- what is there -----------------------------------------------------------------------------

    async def layout(self) -> dict[tuple[bytes, int], list[int]]:
        """The devices that hold each copy or fragment."""
        found: dict[tuple[bytes, int], list[int]] = {}
        for device in self.devices:
            for entry in await device.list_blobs(None, 10**6):
                name = entry.header.name
                found.setdefault((name.id, name.number), []).append(device.device_id)
        return found

    async def check(self) -> None:
        """Every object is what was written; each of its blobs is whole, at its homes and nowhere else;
        there is nothing besides."""
        assert self.mistakes == []
        store = self.proxy()
        homes: dict[tuple[bytes, int], list[int]] = {}
        for container in self.containers:
            page = await store.list_objects(container, ListQuery())
            names = {entry.name for entry in page.entries if isinstance(entry, ObjectInfo)}
            kept = {key for (of, key), data in self.expected.items() if of == container.name and data}
            assert names == kept
            for key in names:
                assert await self.shown(store, container, key) == self.expected[container.name, key]
                for blob in await self.blobs_of(store, container, key):
                    width = self.policies[blob.policy].width
                    ids = self.ring.devices(blob.policy, self.ring.partition(blob.id))
                    homes |= {(blob.id, number): [ids[number]] for number in range(width)}
                    await self.check_blob(store, blob, width)
        assert await self.layout() == homes

    async def blobs_of(self, store: CoreStore, container: Container, key: str) -> list[Blob]:
        opened = await store.open_object(container, key)
        opened.close()
        return [blob for part in opened.parts for blob in part.blobs]

    async def check_blob(self, store: CoreStore, blob: Blob, width: int) -> None:
        """Each copy or fragment is what the others make of it."""
        for number in range(width):
            source = store.blobs.source(blob)
            made = b"".join([bytes(piece) async for piece in source.rebuilt(number)])
            source.close()
            (holder,) = (await self.layout())[blob.id, number]
            assert made == await content(self.devices[holder], BlobName(blob.id, number))


async def content(device: MemoryDevice, name: BlobName) -> bytes:
    """A blob's bytes."""
    reader = await device.open_blob(name, 1e18)
    return b"".join(bytes(view) for view in await reader.read(0, reader.size_bytes))
