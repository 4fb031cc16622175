"""Cables cut and slowed, nodes frozen, killed and started one after the other, all under load: no wrong
answer, no acknowledged write lost, and the others go on.
"""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster.links import Hosts, separate_hosts
from tests.cluster.load import Load, Place, end_within
from tests.cluster.nodes import Cluster, start_cluster
from tests.cluster.proxies import Proxies, proxied_hosts
from tests.cluster.s3 import NO_ANSWER, connect

BUCKETS = {"plain": "replicated-3", "coded": "ec-4-2"}
ASIDE = "aside"
"""A bucket that the histories know nothing of."""
KEYS = 12
CLIENTS_EACH = 3
CALM_S, TROUBLE_S = 0.8, 3.0
SERVED_WITHIN_S = 5.0
"""After a node fell silent, the others' clients wait no longer for an answer than this."""
SLOW_KBIT_S = 2000


@asynccontextmanager
async def loaded(cluster: Cluster, load: Load, nodes: list[int]) -> AsyncIterator[None]:
    """Clients of these nodes at work; an error of theirs is raised at the end."""
    async with AsyncExitStack() as stack:
        clients = []
        for number in nodes:
            s3 = await stack.enter_async_context(connect(cluster.nodes[number], keep=False))
            clients.append(asyncio.ensure_future(load.run(s3, CLIENTS_EACH)))
        try:
            await asyncio.sleep(CALM_S)
            yield
        finally:
            load.end()
            await end_within(asyncio.wait(clients), 60)  # type: ignore[arg-type]
        for client in clients:
            client.result()


async def verify(cluster: Cluster, load: Load) -> None:
    """From every node."""
    for node in cluster.nodes:
        async with connect(node, keep=False) as s3:
            await load.verify(s3)


async def served(cluster: Cluster, number: int) -> None:
    """A client of this node is answered in time, again and again."""
    async with connect(cluster.nodes[number], keep=False) as s3:
        for turn in range(8):
            begun = time.monotonic()
            answer = await s3.put(ASIDE, f"served-{turn}", b"x" * 600)
            assert answer.status == 200, answer
            assert (await s3.get(ASIDE, f"served-{turn}")).status == 200
            assert turn < 2 or time.monotonic() - begun < SERVED_WITHIN_S


async def new_load(cluster: Cluster) -> Load:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    async with connect(cluster.nodes[0]) as s3:
        for bucket, policy in BUCKETS.items():
            await s3.create_bucket(bucket, policy)
        await s3.create_bucket(ASIDE)
    return Load([Place(bucket, f"k{n}") for bucket in BUCKETS for n in range(KEYS)], seed)


NETWORKS = [
    pytest.param(
        separate_hosts,
        id="namespaces",
        marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces"),
    ),
    pytest.param(proxied_hosts, id="proxies"),
]


@pytest.mark.parametrize("network", NETWORKS)
async def test_cut_and_slow_cables(
    tmp_path: Path, network: Callable[[int], AbstractContextManager[Hosts | Proxies]]
) -> None:
    with network(4) as hosts, start_cluster(tmp_path, hosts=hosts, part_min_bytes=1) as cluster:
        load = await new_load(cluster)
        async with loaded(cluster, load, [0, 1, 2]):
            hosts.cut(3)
            await asyncio.sleep(TROUBLE_S)
            assert not await _takes_writes(cluster, 3)
            await served(cluster, 0)
        hosts.mend(3)
        await _back(cluster, 3)
        await verify(cluster, load)
        async with loaded(cluster, load, [0, 1, 3]):
            hosts.slow(2, SLOW_KBIT_S)
            await asyncio.sleep(TROUBLE_S)
        hosts.quicken(2)
        async with loaded(cluster, load, [0, 1, 2, 3]):
            await _cut_off_one_after_the_other(hosts)
        await _back(cluster, 1)
        await verify(cluster, load)
        print(f"answers by status, reads' negative: {load.answers}")
        assert load.acknowledged > 50, load.answers


async def _takes_writes(cluster: Cluster, number: int) -> bool:
    """Whether a node does so at once."""
    async with connect(cluster.nodes[number], keep=False) as s3:
        try:
            async with asyncio.timeout(TROUBLE_S):
                return (await s3.put(ASIDE, "at-once", b"x")).status == 200
        except NO_ANSWER:
            return False


async def _cut_off_one_after_the_other(hosts: Hosts | Proxies) -> None:
    for number in (0, 1):
        hosts.cut(number)
        await asyncio.sleep(TROUBLE_S / 2)
        hosts.mend(number)
        await asyncio.sleep(CALM_S)


async def _back(cluster: Cluster, number: int) -> None:
    """Until a node that was cut off reaches the others again."""
    async with connect(cluster.nodes[number], keep=False) as s3:
        deadline = time.monotonic() + 30
        while (answer := await s3.put(ASIDE, "back", b"x")).status != 200:
            assert time.monotonic() < deadline, answer
            await asyncio.sleep(0.1)


class Quiet:
    """Clients with keys of their own: nobody races them, so no request of theirs may fail."""

    def __init__(self, cluster: Cluster) -> None:
        seed = secrets.randbits(32)
        print(f"seed {seed}")
        self._cluster = cluster
        self._loads = [
            Load([Place(f"{bucket}{number}", f"k{n}") for bucket in BUCKETS for n in range(4)], seed)
            for number in range(2 * len(cluster.nodes))
        ]

    async def make_buckets(self) -> None:
        """For each client two."""
        async with connect(self._cluster.nodes[0]) as s3:
            for bucket, policy in BUCKETS.items():
                for number in range(len(self._loads)):
                    await s3.create_bucket(f"{bucket}{number}", policy)
            await s3.create_bucket(ASIDE)

    @asynccontextmanager
    async def at_work(self, nodes: list[int]) -> AsyncIterator[None]:
        """One client each, of these nodes in turn."""
        async with AsyncExitStack() as stack:
            works = []
            for turn, load in enumerate(self._loads):
                node = self._cluster.nodes[nodes[turn % len(nodes)]]
                s3 = await stack.enter_async_context(connect(node, keep=False))
                works.append(asyncio.ensure_future(load.run(s3, 1)))
            try:
                await asyncio.sleep(CALM_S)
                yield
            finally:
                for load in self._loads:
                    load.end()
                await end_within(asyncio.wait(works), 60)  # type: ignore[arg-type]
            for work in works:
                work.result()

    async def verify(self) -> None:
        """From every node in turn, what every client was told; nothing was refused."""
        assert [failure for load in self._loads for failure in load.failures] == []
        assert not any(-status in load.answers for load in self._loads for status in (500, 503))
        for turn, load in enumerate(self._loads):
            node = self._cluster.nodes[turn % len(self._cluster.nodes)]
            async with connect(node, keep=False) as s3:
                await load.verify(s3)


async def test_frozen_and_killed_nodes_and_a_rolling_restart(tmp_path: Path) -> None:
    with start_cluster(tmp_path, part_min_bytes=1) as cluster:
        clients = Quiet(cluster)
        await clients.make_buckets()
        async with clients.at_work([0, 1, 2]):
            cluster.nodes[3].freeze()
            await asyncio.sleep(TROUBLE_S)
            await served(cluster, 1)
            cluster.nodes[3].thaw()
            await asyncio.sleep(CALM_S)
            await asyncio.to_thread(cluster.nodes[3].kill)
            await served(cluster, 2)
        await asyncio.to_thread(cluster.nodes[3].restart)
        await _back(cluster, 3)
        await clients.verify()
        for number, node in enumerate(cluster.nodes):
            async with clients.at_work([n for n in range(4) if n != number]):
                await asyncio.to_thread(node.stop)
                await asyncio.to_thread(node.restart)
            await clients.verify()
