"""One node of four dies: nobody is refused, nobody waits long, and nothing written then is lost."""

import asyncio
import os
from functools import partial

import pytest

from proxy.core.types import Buffer, Container, ListQuery, ObjectAttributes
from tests.grid import BytesBody
from tests.property.core.world import run
from tests.unit.core.four_nodes import NODES, FourNodes, now

PLAIN = ObjectAttributes("text/plain")
LARGE = 3_000_000
FIRST_S = 2.5
"""What the first request after a death may take: a second to notice it, and the work."""
LATER_S = 0.3

HOW = pytest.mark.parametrize("how", ["killed", "stopped"])
POLICY = pytest.mark.parametrize("policy", ["replicated-3", "ec-4-2"])


class FatalBody(BytesBody):
    """Ends a node when `after` bytes of it have been read, or at its end."""

    def __init__(self, data: bytes, cluster: FourNodes, node: int, how: str, after: int) -> None:
        super().__init__(data)
        self._left = after
        self._end = partial(cluster.end, node, how)

    async def read(self) -> Buffer:
        piece = await super().read()
        self._left -= len(piece)
        if self._left <= 0 or not piece:
            self._end()
        return piece


async def all_verbs(one: FourNodes, container: Container, name: str, data: bytes) -> None:
    await one.store.put_object(container, name, BytesBody(data), PLAIN)
    assert await one.read(container, name) == data
    await one.store.put_object(container, name + "-small", BytesBody(b"small"), PLAIN)
    assert await one.read(container, name + "-small") == b"small"
    await one.store.update_object(container, name + "-small", ObjectAttributes("text/other"))
    names = [
        getattr(e, "name", "") for e in (await one.store.list_objects(container, ListQuery())).entries
    ]
    assert name in names
    await one.store.container_stat(container)
    await one.store.delete_object(container, name + "-small")


@HOW
@POLICY
def test_every_verb_goes_on_and_soon_as_fast_as_before(policy: str, how: str) -> None:
    async def scene() -> None:
        data = os.urandom(LARGE)
        for node in range(NODES):
            one = FourNodes()
            container = await one.store.create_container("a", "c", policy=policy)
            await one.store.put_object(container, "before", BytesBody(data), PLAIN)
            one.end(node, how)
            for number in range(8):
                begun = now()
                assert await one.read(container, "before") == data
                await all_verbs(one, container, f"o{number}", data)
                assert now() - begun < (FIRST_S * 2 if number < 5 else LATER_S)
            one.bring_back(node)
            await asyncio.sleep(10.0)
            for number in range(8):
                assert await one.read(container, f"o{number}") == data

    run(scene())


@HOW
@POLICY
@pytest.mark.parametrize("after", [1, 1_500_000, LARGE])
def test_a_put_under_way_when_it_dies_succeeds(policy: str, how: str, after: int) -> None:
    async def scene() -> None:
        data = os.urandom(LARGE)
        for node in range(NODES):
            one = FourNodes()
            container = await one.store.create_container("a", "c", policy=policy)
            begun = now()
            await one.store.put_object(container, "o", FatalBody(data, one, node, how, after), PLAIN)
            assert now() - begun < FIRST_S * 2
            assert await one.read(container, "o") == data
            alive = [device for device in one.devices if device not in one.of_node(node)]
            held = [await device.list_blobs(None, 100) for device in alive]
            assert sum(map(len, held)) >= (5 if policy == "ec-4-2" else 2)

    run(scene())


@HOW
@POLICY
def test_what_was_handed_off_is_found_while_another_node_is_dead(policy: str, how: str) -> None:
    async def scene() -> None:
        one = FourNodes()
        container = await one.store.create_container("a", "c", policy=policy)
        one.end(0, how)
        objects = {f"o{n}": os.urandom(LARGE) for n in range(12)}
        for name, data in objects.items():
            await one.store.put_object(container, name, BytesBody(data), PLAIN)
        one.bring_back(0)
        await asyncio.sleep(10.0)
        away = [n for n, device in (await one.places()).items() if one.home(n, policy) != device]
        assert away
        assert all(one.home(name, policy) in (0, 1) for name in away)
        for other in range(1, NODES):
            one.end(other, how)
            for name, data in objects.items():
                assert await one.read(container, name) == data
            one.bring_back(other)
            await asyncio.sleep(10.0)

    run(scene())


@POLICY
def test_deleting_leaves_nothing_at_handoffs(policy: str) -> None:
    async def scene() -> None:
        one = FourNodes()
        container = await one.store.create_container("a", "c", policy=policy)
        one.end(1, "killed")
        for n in range(8):
            await one.store.put_object(container, f"o{n}", BytesBody(os.urandom(LARGE)), PLAIN)
        one.bring_back(1)
        await asyncio.sleep(10.0)
        assert any(one.home(n, policy) != device for n, device in (await one.places()).items())
        opened = [await one.store.open_object(container, f"o{n}") for n in range(8)]
        blobs = [blob for each in opened for part in each.parts for blob in part.blobs]
        await one.store.blobs.try_delete(blobs)
        assert await one.places() == {}

    run(scene())
