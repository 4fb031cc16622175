"""Several proxies over a bad network at once: every key a linearizable register, listings with them.

One seed decides who does what, which messages are lost, late or repeated and which device is away when.
At the end everybody sees the same, whole, and nothing that no row names is left.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proxy.core.errors import (
    ContainerExists,
    ContainerNotEmpty,
    Full,
    NoSuchContainer,
    NoSuchObject,
    NoSuchUpload,
    PreconditionFailed,
    Unavailable,
)
from proxy.core.store import CoreStore
from proxy.core.types import (
    CompletedPart,
    Conditions,
    Container,
    ListQuery,
    ObjectAttributes,
    ObjectInfo,
)
from tests.grid import BytesBody, whole
from tests.property.core.world import World, run
from tests.property.register.linearizability import (
    Content,
    Done,
    Event,
    Get,
    Nothing,
    Outcome,
    Put,
    Saw,
    Swap,
    Unknown,
    linearizable,
)

PLAIN = ObjectAttributes("text/plain")
KEYS = ("k/1", "k/2", "other")
CLIENTS = 4
STEPS = 9


class History:
    """What was asked of one key and how it ended; times are the loop's, in steps that never repeat."""

    def __init__(self) -> None:
        self.events: dict[str, list[Event]] = {key: [] for key in KEYS}
        self._tick = 0

    def tick(self) -> int:
        self._tick += 1
        return self._tick


class Client:
    """One client of one proxy: asks this and that and notes what came of it."""

    def __init__(self, number: int, world: World, history: History, container: Container) -> None:
        self._number = number
        self._random = random.Random(world.random.getrandbits(64))
        self._store = world.proxy(ahead_s=self._random.choice([0.0, 0.0, 3.0, -3.0]))
        self._history = history
        self._container = container
        self._written = 0
        self._last_etag = ""

    def _text(self) -> bytes:
        self._written += 1
        return b"%d.%d" % (self._number, self._written)

    def _data(self) -> bytes:
        text = self._text()
        return text if self._random.random() < 0.7 else text.ljust(70_000, b"x")

    async def work(self) -> None:
        acts: list[Callable[[str], Awaitable[object]]] = [
            self.put, self.put, self.create, self.replace, self.get, self.get, self.delete,
            self.listing, self.multipart, self.post,
        ]  # fmt: skip
        for _ in range(STEPS):
            act = self._random.choice(acts)
            await act(self._random.choice(KEYS))
            await asyncio.sleep(self._random.uniform(0, 0.02))

    def note(self, key: str, begin: int, asked: Any, outcome: Outcome) -> None:
        self._history.events[key].append(Event(begin, self._history.tick(), asked, outcome))

    async def put(self, key: str) -> None:
        data = self._data()
        begin = self._history.tick()
        try:
            info = await self._store.put_object(self._container, key, BytesBody(data), PLAIN)
        except Unavailable:
            self.note(key, begin, Put(data), Unknown())
        except Full:
            self.note(key, begin, Put(data), Nothing())
        else:
            self._last_etag = info.head.etag
            self.note(key, begin, Put(data), Done())

    async def create(self, key: str) -> None:
        await self._if(key, None, Conditions(if_none_match=("*",)))

    async def replace(self, key: str) -> None:
        """Replace what was seen last, by its ETag."""
        begin = self._history.tick()
        seen = await self._read(key)
        if isinstance(seen, bytes):
            self.note(key, begin, Get(), Saw(seen))
            etag = hashlib.md5(seen, usedforsecurity=False).hexdigest()
            await self._if(key, seen, Conditions(if_match=(etag,)))

    async def _if(self, key: str, expected: Content, conditions: Conditions) -> None:
        data = self._data()
        begin = self._history.tick()
        try:
            await self._store.put_object(
                self._container, key, BytesBody(data), PLAIN, conditions=conditions
            )
        except Unavailable:
            self.note(key, begin, Swap(expected, data), Unknown())
        except (PreconditionFailed, NoSuchObject, Full):
            self.note(key, begin, Swap(expected, data), Nothing())
        else:
            self.note(key, begin, Swap(expected, data), Done())

    async def delete(self, key: str) -> None:
        begin = self._history.tick()
        try:
            await self._store.delete_object(self._container, key)
        except Unavailable:
            self.note(key, begin, Put(None), Unknown())
        else:
            self.note(key, begin, Put(None), Done())

    async def post(self, key: str) -> None:
        """New metadata must not bring old bytes back."""
        try:
            await self._store.update_object(self._container, key, ObjectAttributes("text/other"))
        except (Unavailable, NoSuchObject):
            return

    async def get(self, key: str) -> bool:
        """Whether there was an answer."""
        begin = self._history.tick()
        seen = await self._read(key)
        if isinstance(seen, Unavailable):
            return False
        self.note(key, begin, Get(), Saw(seen))
        return True

    async def _read(self, key: str) -> Content | Unavailable:
        try:
            opened = await self._store.open_object(self._container, key)
        except NoSuchObject:
            return None
        except Unavailable as error:
            return error
        try:
            return await whole(opened.stream(0, opened.info.head.size_bytes))
        except Unavailable as error:
            return error
        finally:
            opened.close()

    async def listing(self, _key: str = "") -> bool:
        """A listing is a read of every key at once: each for itself must fit its history."""
        begin = self._history.tick()
        try:
            page = await self._store.list_objects(self._container, ListQuery())
        except Unavailable:
            return False
        etags = {e.name: e.head.etag for e in page.entries if isinstance(e, ObjectInfo)}
        for key in KEYS:
            known = [
                event.asked.content
                for event in self._history.events[key]
                if isinstance(event.asked, Put | Swap) and event.asked.content is not None
            ]
            seen = {_etag(content): content for content in known}
            if key not in etags:
                self.note(key, begin, Get(), Saw(None))
            elif etags[key] in seen:  # else its writer has not noted it yet
                self.note(key, begin, Get(), Saw(seen[etags[key]]))
        return True

    async def multipart(self, key: str) -> None:
        first, second = self._text().ljust(2_000, b"1"), self._text().ljust(70_000, b"2")
        begin = self._history.tick()
        written = Put(first + second)
        parts = []
        try:
            upload = await self._store.create_upload(self._container, key, PLAIN)
            for number, data in enumerate((first, second), 1):
                part = await self._store.put_part(
                    self._container, key, upload.id, number, BytesBody(data)
                )
                parts.append(CompletedPart(number, part.etag))
        except Unavailable:
            return
        outcome: Outcome = Unknown()
        for _ in range(2):
            try:
                await self._store.complete_upload(self._container, key, upload.id, parts)
            except Unavailable:
                continue
            except NoSuchUpload:
                break  # it was completed, by the attempt before, and written over
            outcome = Done()
            break
        self.note(key, begin, written, outcome)


def _etag(content: bytes) -> str:
    """As the store would say it. Multipart contents are of two parts and longer than any other."""
    if len(content) > 70_000:
        hashes = [
            hashlib.md5(part, usedforsecurity=False).digest()
            for part in (content[:2_000], content[2_000:])
        ]
        return hashlib.md5(b"".join(hashes), usedforsecurity=False).hexdigest() + "-2"
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


async def disturb(world: World) -> None:
    """Devices go away and come back, one at a time; links lose, repeat and delay."""
    rnd = world.random
    while True:
        await asyncio.sleep(rnd.uniform(0.005, 0.05))
        device = rnd.choice(world.devices)
        kind = rnd.randint(0, 3)
        if kind == 0:
            device.go_offline()
        elif kind == 1:
            for wires in world.wires:
                wires[device.device_id].cut()
        for link in world.links:
            link.loss = rnd.choice([0, 0, 0, 0.05])
            link.duplicate = rnd.choice([0, 0.1])
            link.delay_max_s = rnd.choice([0.001, 0.001, 0.01])
        await asyncio.sleep(rnd.uniform(0.005, 0.05))
        calm(world)


def calm(world: World) -> None:
    for device in world.devices:
        device.go_online()
        for wires in world.wires:
            wires[device.device_id].cut(False)
    for link in world.links:
        link.loss = link.duplicate = 0.0


async def seen_by(store: CoreStore, container: Container) -> dict[str, str]:
    page = await store.list_objects(container, ListQuery())
    return {e.name: e.head.etag for e in page.entries if isinstance(e, ObjectInfo)}


@pytest.mark.parametrize("seed", range(60))
def test_every_key_is_a_register(seed: int) -> None:
    async def scene() -> None:
        world = World(seed)
        history = History()
        container = await world.proxy().create_container("a", "c")
        clients = [Client(number, world, history, container) for number in range(CLIENTS)]
        disturbance = asyncio.ensure_future(disturb(world))
        await asyncio.gather(*(client.work() for client in clients))
        disturbance.cancel()
        calm(world)
        await everything_can_be_read(world, history, container)
        for key, events in history.events.items():
            assert linearizable(events), (key, sorted(events))
        await nothing_is_left(world, container)

    run(scene())


async def everything_can_be_read(world: World, history: History, container: Container) -> None:
    """Without any one device, by everybody; what unknown writes have left may come to light now."""
    readers = [Client(number, world, history, container) for number in range(2)]
    for device in world.devices:
        device.go_offline()
        for reader in readers:
            assert await reader.listing()
            for key in KEYS:
                assert await reader.get(key)
        device.go_online()


async def nothing_is_left(world: World, container: Container) -> None:
    """Uploads cut off half way can be ended, and the collector finds just what no row names."""
    store = world.proxy()
    await asyncio.sleep(20.0)  # no message is on its way any more
    for entry in (await store.list_uploads(container, ListQuery(), "")).entries:
        assert not isinstance(entry, str)
        try:
            await store.abort_upload(container, entry.head.object_name, entry.head.id)
        except NoSuchUpload:
            continue  # it was half way completed, and is now
    await world.idle()
    for _ in range(3):
        await world.collector(store).round()
    named = set()
    for name in await seen_by(store, container):
        opened = await store.open_object(container, name)
        await whole(opened.stream(0, opened.info.head.size_bytes))
        named |= {blob.id for part in opened.parts for blob in part.blobs}
        opened.close()
    assert await world.blob_ids() == named


@pytest.mark.parametrize("seed", range(60))
def test_containers_come_and_go_and_take_no_acknowledged_object_along(seed: int) -> None:
    """Clients that create and delete the container, and write into it with what they remember of it.

    An object that was acknowledged is there until its own deletion was asked for, and no container
    with one is deleted.
    """

    async def scene() -> None:
        world = World(seed, delay_max_s=0.003)
        stores = [world.proxy() for _ in range(3)]
        safe: dict[str, bytes] = {}
        counter = iter(range(10_000))

        async def client(store: CoreStore) -> None:
            rnd = random.Random(world.random.getrandbits(64))
            for _ in range(12):
                await asyncio.sleep(rnd.uniform(0, 0.02))
                try:
                    await act(store, rnd)
                except (Unavailable, NoSuchContainer, ContainerExists, ContainerNotEmpty):
                    continue

        async def act(store: CoreStore, rnd: random.Random) -> None:
            kind = rnd.random()
            if kind < 0.25:
                await store.create_container("a", "c")
                return
            container = await store.container("a", "c", fresh=rnd.random() < 0.3)
            if kind < 0.5:
                held = dict(safe)
                await store.delete_container(container)
                assert not held.keys() & safe.keys(), "deleted with an object in it"
            elif kind < 0.85:
                name = f"o{next(counter)}"
                data = name.encode().ljust(rnd.choice([10, 70_000]))
                await store.put_object(container, name, BytesBody(data), PLAIN)
                safe[name] = data
            elif safe:
                name = rnd.choice(list(safe))
                del safe[name]
                await store.delete_object(container, name)

        disturbance = asyncio.ensure_future(disturb(world)) if seed % 2 else None
        await asyncio.gather(*map(client, stores))
        if disturbance is not None:
            disturbance.cancel()
        calm(world)
        if not safe:
            return
        container = await stores[0].container("a", "c", fresh=True)
        shown = await seen_by(stores[1], container)
        assert safe.keys() <= shown.keys()
        for name, data in safe.items():
            opened = await stores[2].open_object(container, name)
            assert await whole(opened.stream(0, len(data))) == data
            opened.close()

    run(scene())
