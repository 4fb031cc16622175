"""Several nodes: one store from any of them, also without one of them."""

import asyncio
from pathlib import Path

from ring.file import load
from tests.cluster.nodes import Node, start_cluster
from tests.cluster.s3 import connect

SMALL, LARGE = b"s" * 5_000, bytes(range(256)) * 8_000


async def put_some(node: Node, bucket: str, count: int = 8) -> dict[str, bytes]:
    """Objects of both kinds; what was stored."""
    stored = {}
    async with connect(node) as s3:
        for number in range(count):
            key, body = f"{node.name}-{number}", (LARGE if number % 4 == 0 else SMALL) + b"%d" % number
            answer = await s3.put(bucket, key, body)
            assert answer.status == 200, answer
            stored[key] = body
    return stored


async def check(node: Node, bucket: str, stored: dict[str, bytes]) -> None:
    """All of it is there, and listed."""
    async with connect(node) as s3:
        for key, body in stored.items():
            answer = await s3.get(bucket, key)
            assert (answer.status, answer.body == body) == (200, True), (node.name, key, answer)
        assert set(await s3.list_all(bucket)) == set(stored)


async def test_what_one_node_took_every_node_has_over_tls(tmp_path: Path) -> None:
    with start_cluster(tmp_path, workers=2, tls=True) as cluster:
        async with connect(cluster.nodes[0]) as s3:
            await s3.create_bucket("plain")
            await s3.create_bucket("coded", "ec-4-2")
        stored: dict[str, dict[str, bytes]] = {"plain": {}, "coded": {}}
        for node in cluster.nodes:
            for bucket, kept in stored.items():
                kept.update(await put_some(node, bucket))
        for node in cluster.nodes:
            for bucket, kept in stored.items():
                await check(node, bucket, kept)
        rings = [load(str(node.ring)) for node in cluster.nodes]
        assert {(ring.epoch, ring.cluster_id) for ring in rings} == {(1, rings[0].cluster_id)}
        assert sorted({member.zone for member in rings[0].members}) == ["z0", "z1", "z2", "z3"]
        assert len(rings[0].members) == 8


async def test_without_one_node_everything_goes_on_and_all_survives_kill_9(tmp_path: Path) -> None:
    with start_cluster(tmp_path) as cluster:
        async with connect(cluster.nodes[0]) as s3:
            await s3.create_bucket("bucket")
        stored = await put_some(cluster.nodes[1], "bucket")
        cluster.nodes[3].kill()
        for node in cluster.nodes[:3]:
            stored |= await put_some(node, "bucket")
        for node in cluster.nodes[:3]:
            await check(node, "bucket", stored)
        cluster.kill()
        await asyncio.to_thread(cluster.start)
        await check(cluster.nodes[3], "bucket", stored)
        stored |= await put_some(cluster.nodes[3], "bucket")
        await check(cluster.nodes[0], "bucket", stored)
