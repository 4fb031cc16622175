"""A node goes down right after another came back: nobody is refused. In a long outage all are."""

import asyncio
import os

import pytest

from proxy.core.errors import Unavailable
from proxy.core.types import Container, ListQuery, ObjectAttributes
from tests.grid import BytesBody
from tests.property.core.world import run
from tests.unit.core.four_nodes import NODES, FourNodes, now

PLAIN = ObjectAttributes("text/plain")
LARGE = 3_000_000
HOW = pytest.mark.parametrize("how", ["killed", "stopped"])
POLICY = pytest.mark.parametrize("policy", ["replicated-3", "ec-4-2"])


async def worked(one: FourNodes, container: Container, name: str) -> None:
    """Traffic enough to find out which devices are away."""
    for number in range(6):
        await one.store.put_object(container, f"{name}{number}", BytesBody(bytes(9)), PLAIN)
        await asyncio.sleep(0.5)


@HOW
@POLICY
def test_one_node_after_the_other_restarts(policy: str, how: str) -> None:
    async def scene() -> None:
        one = FourNodes()
        container = await one.store.create_container("a", "c", policy=policy)
        data = os.urandom(LARGE)
        await one.store.put_object(container, "before", BytesBody(data), PLAIN)
        for turn in range(2 * NODES):  # the second time breakers open soon after they closed
            node = turn % NODES
            one.end(node, how)
            await worked(one, container, f"away{turn}-")
            one.bring_back(node)
            one.end((node + 1) % NODES, "killed")
            name = f"o{turn}"
            assert await one.read(container, "before") == data
            await one.store.put_object(container, name, BytesBody(data), PLAIN)
            await one.store.put_object(container, name + "-small", BytesBody(b"small"), PLAIN)
            await one.store.update_object(container, name + "-small", ObjectAttributes("text/other"))
            assert await one.read(container, name) == data
            await one.store.list_objects(container, ListQuery())
            await one.store.container_stat(container)
            await one.store.delete_object(container, name + "-small")

    run(scene())


@HOW
def test_a_request_during_a_long_outage_is_refused_at_once(how: str) -> None:
    async def scene() -> None:
        one = FourNodes()
        container = await one.store.create_container("a", "c")
        await one.store.put_object(container, "o", BytesBody(b"x"), PLAIN)
        for node in (0, 1, 2):
            one.end(node, how)
        for _ in range(30):
            with pytest.raises(Unavailable):
                await one.store.put_object(container, "o", BytesBody(b"y"), PLAIN)
            await asyncio.sleep(0.5)
        for _ in range(3):
            begun = now()
            with pytest.raises(Unavailable):
                await one.store.put_object(container, "o", BytesBody(b"y"), PLAIN)
            assert now() - begun < 0.5

    run(scene())
