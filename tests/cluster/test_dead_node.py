"""A node of four is killed, or stopped with its connections open: no client of the others notices."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cluster.nodes import Node, start_cluster
from tests.cluster.s3 import Answer, connect

SIZES = {"plain": (4096, 1_500_000), "coded": (4096, 3_000_000)}
BEFORE_S, AFTER_S = 1.5, 4.0


class Clients:
    """Clients of some nodes that write and read without a pause, and keep what they wrote."""

    def __init__(self) -> None:
        self.refusals: list[tuple[str, Answer]] = []
        self.stored: dict[tuple[str, str], bytes] = {}
        self.done = 0
        self._over = False

    @contextlib.asynccontextmanager
    async def at_work(self, nodes: list[Node]) -> AsyncIterator[None]:
        """All requests have been answered when the block is left."""
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                for bucket, sizes in SIZES.items():
                    group.create_task(self._work(node, bucket, sizes))
            yield
            self._over = True

    async def _work(self, node: Node, bucket: str, sizes: tuple[int, ...]) -> None:
        number = 0
        async with connect(node) as s3:
            while not self._over:
                key, number = f"{node.name}-{number}", number + 1
                body = os.urandom(sizes[number % len(sizes)])
                if self._count(f"PUT {key}", await s3.put(bucket, key, body)):
                    self.stored[bucket, key] = body
                    answer = await s3.get(bucket, key)
                    assert self._count(f"GET {key}", answer) is (answer.body == body)

    def _count(self, what: str, answer: Answer) -> bool:
        self.done += 1
        if answer.status != 200:
            self.refusals.append((what, answer))
        return answer.status == 200

    async def check(self, node: Node) -> None:
        """All that was acknowledged is there."""
        async with connect(node) as s3:
            for (bucket, key), body in self.stored.items():
                answer = await s3.get(bucket, key)
                assert (answer.status, answer.body == body) == (200, True), (bucket, key, answer)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_clients_of_the_others_notice_nothing(tmp_path: Path, how: str) -> None:
    with start_cluster(tmp_path) as cluster:
        *others, victim = cluster.nodes
        async with connect(victim) as s3:
            await s3.create_bucket("plain")
            await s3.create_bucket("coded", "ec-4-2")
        clients = Clients()
        async with clients.at_work(others):
            await asyncio.sleep(BEFORE_S)
            before = clients.done
            victim.kill() if how == "killed" else victim.freeze()
            await asyncio.sleep(AFTER_S)
        assert clients.refusals == []
        assert clients.done > before > 0
        await clients.check(others[0])
        if how == "killed":
            await asyncio.to_thread(victim.restart)
        else:
            victim.thaw()
        await clients.check(victim)
