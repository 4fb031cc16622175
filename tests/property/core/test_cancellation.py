"""Every verb cancelled at any moment: nothing runs on, nothing stays open, everything works afterwards,
and what was acknowledged is there.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import pytest

from proxy.core.errors import NoSuchContainer, NoSuchUpload, Unavailable
from proxy.core.placement import Placement
from proxy.core.store import CoreStore
from proxy.core.types import CompletedPart, Conditions, Container, ListQuery, ObjectAttributes
from proxy.core.upload_ends import REOPEN_AFTER_S
from runtime.clock import HybridClock
from runtime.randomness import SeededRandomness
from runtime.tasks import TaskOwner
from storage.contract import BlobReader, BlobWriter, Buffer, DeviceClient
from storage.faults import FaultyDevice
from storage.types import BlobHeader, BlobName
from tests.grid import BytesBody, whole
from tests.property.core.world import Link, World, call_at, run

PLAIN = ObjectAttributes("text/plain")
LARGE = 4_400_000
SMALL = 100


class _Counted:
    """How many writers and readers are open on all devices."""

    def __init__(self) -> None:
        self.open = 0


class _Writer:
    def __init__(self, inner: BlobWriter, counted: _Counted) -> None:
        self._inner = inner
        self._counted = counted
        self._ended = False
        counted.open += 1

    async def write(self, data: Buffer) -> None:
        await asyncio.sleep(0.0003)
        await self._inner.write(data)

    async def commit(self) -> None:
        await asyncio.sleep(0.0005)
        await self._inner.commit()
        self._end()

    async def abort(self) -> None:
        self._end()
        await self._inner.abort()

    def _end(self) -> None:
        self._counted.open -= not self._ended
        self._ended = True


class _Reader:
    def __init__(self, inner: BlobReader, counted: _Counted) -> None:
        self.header = inner.header
        self.size_bytes = inner.size_bytes
        self._inner = inner
        self._counted = counted
        self._ended = False
        counted.open += 1

    async def read(self, offset: int, length: int) -> Sequence[memoryview]:
        await asyncio.sleep(0.0003)
        return await self._inner.read(offset, length)

    def close(self) -> None:
        self._counted.open -= not self._ended
        self._ended = True
        self._inner.close()


class _CountedDevice(FaultyDevice):
    """Takes its time, and counts what is open."""

    counted: _Counted

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        await asyncio.sleep(0.001 * (1 + self.device_id % 4))
        return _Writer(await super().create_blob(header, deadline), self.counted)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        await asyncio.sleep(0.0003)
        return _Reader(await super().open_blob(name, deadline), self.counted)

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        await asyncio.sleep(0.0003)
        await super().delete_blob(name, deadline)


class Scene:
    """A store with a container, two objects, an upload of two parts."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.counted = _Counted()
        link = Link(self.world.random, 0.001)
        clients: dict[int, DeviceClient] = {}
        for device in self.world.devices:
            wrapped = _CountedDevice(device, link, self.world.clock, call_at)
            wrapped.counted = self.counted
            clients[device.device_id] = wrapped
        randomness = SeededRandomness(seed)
        self.tasks = TaskOwner("test", lambda _name, error: self.world.failures.append(error))
        self.store = CoreStore(
            Placement(self.world.ring, clients, self.world.policies),
            self.world.policies,
            "replicated-3",
            HybridClock(self.world.clock, randomness.token(8)),
            self.world.clock,
            randomness,
            self.tasks,
            part_min_bytes=1024,
        )
        self.large = os.urandom(LARGE)
        self.small = os.urandom(SMALL)

    async def begin(self, policy: str) -> "Scene":
        store = self.store
        self.container = await store.create_container("a", "c", policy=policy)
        await store.put_object(self.container, "large", BytesBody(self.large), PLAIN)
        await store.put_object(self.container, "small", BytesBody(self.small), PLAIN)
        self.upload = (await store.create_upload(self.container, "multi", PLAIN)).id
        self.parts = []
        for number in (1, 2):
            part = await store.put_part(
                self.container, "multi", self.upload, number, BytesBody(self.large[:200_000])
            )
            self.parts.append(CompletedPart(number, part.etag))
        return self

    async def read(self, container: Container, name: str) -> bytes:
        opened = await self.store.open_object(container, name)
        try:
            return await whole(opened.stream(0, opened.info.head.size_bytes))
        finally:
            opened.close()


Verb = Callable[[Scene], Awaitable[object]]


async def put_large(one: Scene) -> None:
    await one.store.put_object(one.container, "new", BytesBody(one.large), PLAIN)


async def put_small(one: Scene) -> None:
    await one.store.put_object(one.container, "new", BytesBody(one.small), PLAIN)


async def put_if_absent(one: Scene) -> None:
    conditions = Conditions(if_none_match=("*",))
    await one.store.put_object(one.container, "new", BytesBody(one.large), PLAIN, conditions=conditions)


async def copy(one: Scene) -> None:
    await one.store.copy_object(one.container, "large", one.container, "new", None)


async def put_part(one: Scene) -> None:
    await one.store.put_part(one.container, "multi", one.upload, 3, BytesBody(one.large))


async def complete(one: Scene) -> None:
    await one.store.complete_upload(one.container, "multi", one.upload, one.parts)


async def complete_if_absent(one: Scene) -> None:
    conditions = Conditions(if_none_match=("*",))
    await one.store.complete_upload(
        one.container, "multi", one.upload, one.parts, conditions=conditions
    )


async def abort(one: Scene) -> None:
    await one.store.abort_upload(one.container, "multi", one.upload)


async def delete_container(one: Scene) -> None:
    other = await one.store.create_container("a", "other")
    await one.store.delete_container(other)


async def create_container(one: Scene) -> None:
    await one.store.create_container("a", "other")


async def read_large(one: Scene) -> None:
    assert await one.read(one.container, "large") == one.large


async def list_all(one: Scene) -> None:
    await one.store.list_objects(one.container, ListQuery(delimiter="/"))
    await one.store.account_stat("a")


async def update(one: Scene) -> None:
    await one.store.update_object(one.container, "large", ObjectAttributes("text/other"))


VERBS: list[Verb] = [
    put_large, put_small, put_if_absent, copy, put_part, complete, complete_if_absent, abort,
    delete_container, create_container, read_large, list_all, update,
]  # fmt: skip


@pytest.mark.parametrize("policy", ["replicated-3", "ec-4-2"])
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_a_verb_cancelled_at_any_moment(verb: Verb, policy: str) -> None:
    async def scene(moment_s: float, turns: int) -> tuple[bool, float]:
        """Cancel it at a moment, and some turns of the loop later; whether it had ended, and when."""
        one = await Scene(turns).begin(policy)
        await one.world.idle()
        quiet = asyncio.all_tasks()
        begun = asyncio.get_running_loop().time()
        task = asyncio.ensure_future(verb(one))
        await asyncio.wait([task], timeout=moment_s)
        took_s = asyncio.get_running_loop().time() - begun
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()
        while len(one.tasks):
            await asyncio.sleep(0.01)
        assert asyncio.all_tasks() <= quiet
        assert one.counted.open == 0
        await works(one, verb, not task.cancelled())
        assert not one.world.failures
        return not task.cancelled(), took_s

    ended, took_s = run(scene(60.0, 0))
    assert ended
    moments = 24 if policy == "replicated-3" else 8
    for number in range(moments):
        run(scene(took_s * number / moments, number % 5))


async def works(one: Scene, verb: Verb, acknowledged: bool) -> None:
    """Afterwards the store can do all it could before."""
    store = one.store
    assert await one.read(one.container, "large") == one.large
    assert await one.read(one.container, "small") == one.small
    page = await store.list_objects(one.container, ListQuery())
    names = [entry.name for entry in page.entries if not isinstance(entry, str)]
    if "new" in names:
        assert await one.read(one.container, "new") in (one.large, one.small)
    elif acknowledged:
        assert verb not in (put_large, put_small, put_if_absent, copy)
    for _ in range(2):
        try:
            await complete(one)
        except NoSuchUpload:
            assert verb is abort
        except Unavailable:
            assert verb is complete_if_absent
            await asyncio.sleep(REOPEN_AFTER_S)
            continue
        break
    if verb is abort and acknowledged:
        assert (await store.list_uploads(one.container, ListQuery(), "")).entries == []
    try:
        other = await store.container("a", "other", fresh=True)
    except NoSuchContainer:
        other = await store.create_container("a", "other")
    await store.put_object(other, "o", BytesBody(one.small), PLAIN)
    await store.delete_object(other, "o")
    await store.delete_container(other)


@pytest.mark.parametrize("policy", ["replicated-3", "ec-4-2"])
def test_a_stream_left_at_any_piece_leaves_nothing_open(policy: str) -> None:
    async def scene() -> None:
        one = await Scene(0).begin(policy)
        await one.world.idle()
        quiet = asyncio.all_tasks()
        for pieces in itertools.count():
            opened = await one.store.open_object(one.container, "large")
            views: AsyncGenerator[memoryview, None] = opened.stream(0, LARGE)
            got = 0
            for _ in range(pieces):
                got += len(await anext(views, b""))
            await views.aclose()
            opened.close()
            assert asyncio.all_tasks() <= quiet
            assert one.counted.open == 0
            if got == LARGE:
                break

    run(scene())
