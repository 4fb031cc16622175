"""A device that says nothing at all, rather than no: everything goes on without it, and soon."""

import asyncio
import os
from collections.abc import Sequence

import pytest

from proxy.core.placement import Placement
from proxy.core.store import CoreStore
from proxy.core.types import CompletedPart, Container, ListQuery, ObjectAttributes
from runtime.clock import HybridClock
from runtime.randomness import SeededRandomness
from runtime.tasks import TaskOwner
from storage.contract import BlobReader, BlobWriter, Buffer, Deliver, DeviceClient
from storage.faults import Direct, FaultyDevice
from storage.types import BlobHeader, BlobName, RowMessage
from tests.grid import BytesBody, whole
from tests.property.core.world import World, call_at, run

PLAIN = ObjectAttributes("text/plain")
LARGE = 3_000_000
SOON_S = 12.0
"""What a device gets to make a copy durable when the others have; no client gives up within it."""


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


class _Writer:
    def __init__(self, inner: BlobWriter, device: "_Mute") -> None:
        self._inner = inner
        self._device = device

    async def write(self, data: Buffer) -> None:
        await self._inner.write(data)

    async def commit(self) -> None:
        if self._device.muted("commit"):
            await _never()
        await self._inner.commit()

    async def abort(self) -> None:
        await self._inner.abort()


class _Reader:
    def __init__(self, inner: BlobReader, device: "_Mute") -> None:
        self.header = inner.header
        self.size_bytes = inner.size_bytes
        self._inner = inner
        self._device = device

    async def read(self, offset: int, length: int) -> Sequence[memoryview]:
        if self._device.muted("read"):
            await _never()
        await asyncio.sleep(self._device.read_s)
        return await self._inner.read(offset, length)

    def close(self) -> None:
        self._inner.close()


class _Mute(FaultyDevice):
    """A device that answers nothing of some kinds."""

    kinds: frozenset[str] = frozenset()
    read_s = 0.0

    def muted(self, kind: str) -> bool:
        return kind in self.kinds

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        if not self.muted("rows"):
            super().send(message, payload, deadline, deliver)

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        if self.muted("create"):
            await _never()
        return _Writer(await super().create_blob(header, deadline), self)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        if self.muted("open"):
            await _never()
        return _Reader(await super().open_blob(name, deadline), self)


class Scene:
    """A store of six devices, each of which can be muted."""

    def __init__(self) -> None:
        self.world = World()
        self.devices = [_Mute(d, Direct(), self.world.clock, call_at) for d in self.world.devices]
        clients: dict[int, DeviceClient] = {d.device_id: d for d in self.devices}
        self.placement = Placement(self.world.ring, clients, self.world.policies)
        randomness = SeededRandomness(1)
        self.store = CoreStore(
            self.placement,
            self.world.policies,
            "replicated-3",
            HybridClock(self.world.clock, randomness.token(8)),
            self.world.clock,
            randomness,
            TaskOwner("test", lambda _name, error: self.world.failures.append(error)),
            part_min_bytes=1024,
        )

    def mute(self, number: int, *kinds: str) -> None:
        for device in self.devices:
            device.kinds = frozenset(kinds) if device.device_id == number else frozenset()

    async def read(self, container: Container, name: str) -> bytes:
        opened = await self.store.open_object(container, name)
        try:
            return await whole(opened.stream(0, opened.info.head.size_bytes))
        finally:
            opened.close()


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("policy", ["replicated-3", "ec-4-2"])
@pytest.mark.parametrize("kinds", [("rows", "create", "commit"), ("commit",), ("open",), ("read",)])
def test_large_objects_go_on_without_any_one_device(policy: str, kinds: tuple[str, ...]) -> None:
    async def scene() -> None:
        one = Scene()
        container = await one.store.create_container("a", "c", policy=policy)
        data = os.urandom(LARGE)
        await one.store.put_object(container, "before", BytesBody(data), PLAIN)
        for number in range(6):
            one.mute(number, *kinds)
            begun = now()
            await one.store.put_object(container, f"{number}", BytesBody(data), PLAIN)
            assert now() - begun < SOON_S + 3
            begun = now()
            for name in ("before", f"{number}"):
                assert await one.read(container, name) == data
            assert now() - begun < SOON_S
        one.mute(-1)
        for number in range(6):
            assert await one.read(container, f"{number}") == data

    run(scene())


@pytest.mark.parametrize("policy", ["replicated-3", "ec-4-2"])
def test_devices_that_are_all_slow_are_waited_for(policy: str) -> None:
    async def scene() -> None:
        one = Scene()
        container = await one.store.create_container("a", "c", policy=policy)
        data = os.urandom(LARGE)
        await one.store.put_object(container, "o", BytesBody(data), PLAIN)
        for device in one.devices:
            device.read_s = 20.0
        assert await one.read(container, "o") == data

    run(scene())


def test_the_other_verbs_go_on_without_any_one_device_at_once() -> None:
    async def scene() -> None:
        one = Scene()
        store = one.store
        for number in range(6):
            one.mute(number, "rows")
            begun = now()
            container = await store.create_container("a", f"c{number}", meta={"a": "b"})
            await store.put_object(container, "o", BytesBody(b"x"), PLAIN)
            await store.update_object(container, "o", ObjectAttributes("text/other"))
            await store.head_object(container, "o")
            assert len((await store.list_objects(container, ListQuery())).entries) == 1
            assert (await store.container_stat(container)).objects == 1
            assert (await store.account_stat("a")).containers == number + 1
            upload = await store.create_upload(container, "m", PLAIN)
            part = await store.put_part(container, "m", upload.id, 1, BytesBody(b"x"))
            await store.list_uploads(container, ListQuery(), "")
            await store.complete_upload(container, "m", upload.id, [CompletedPart(1, part.etag)])
            for name in ("m", "o"):
                await store.delete_object(container, name)
            await store.update_container(container, {"a": ""}, {})
            await store.delete_container(container)
            await store.create_container("a", f"c{number}")
            assert now() - begun < 8.0

    run(scene())


def test_a_write_that_two_have_refused_does_not_wait_for_the_third() -> None:
    """A proxy whose clock is behind learns so from two replicas."""

    async def scene() -> None:
        world = World()
        ahead, behind = world.proxy(ahead_s=5.0), world.proxy()
        container = await ahead.create_container("a", "c")
        for silent in range(6):
            name = f"o{silent}"
            await ahead.put_object(container, name, BytesBody(b"1"), PLAIN)
            await asyncio.sleep(0.01)  # now all three replicas have it
            world.links[1].script = lambda device_id, _message, _arrive, s=silent: device_id == s
            begun = now()
            behind.rows._stamps._last_ns = 0
            await behind.put_object(container, name, BytesBody(b"2"), PLAIN)
            assert now() - begun < 1.0
            world.links[1].script = None

    run(scene())
