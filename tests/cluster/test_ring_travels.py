"""The ring of a cluster: changed on any node, it travels by itself, and data go with it."""

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

from ring.file import load
from tests.api.cli.commands import Outcome, atoll
from tests.cluster.nodes import Cluster, Node, start_cluster
from tests.cluster.s3 import connect
from tests.cluster.test_nodes import check, put_some

SETTLED_WITHIN_S = 60.0
POLL_S = 0.2
SOME_RING_BYTES = 1000
"""More than a keeper's file has without a ring."""


def on(node: Node, *words: str) -> Outcome:
    """`atoll … --data` of a node."""
    return atoll(*words, "--data", str(node.data))


def document(node: Node, *words: str) -> Any:
    outcome = on(node, *words, "--json")
    assert outcome.status == 0, outcome
    return json.loads(outcome.out)


async def settled(nodes: list[Node], epoch: int) -> None:
    """Until all of these nodes are at one epoch from `epoch` on, and no rows are moving."""
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while True:
        rings = [load(str(node.ring)) for node in nodes]
        moving = [bool(ring.moved_in_epoch("rows")) for ring in rings]
        if len({ring.epoch for ring in rings}) == 1 and rings[0].epoch >= epoch and not any(moving):
            return
        assert time.monotonic() < deadline, [
            (ring.epoch, m) for ring, m in zip(rings, moving, strict=True)
        ]
        await asyncio.sleep(POLL_S)


async def test_a_node_is_taken_in_and_the_ring_travels(tmp_path: Path) -> None:
    with start_cluster(tmp_path, 3, keepers=3) as cluster:
        async with connect(cluster.nodes[0]) as s3:
            await s3.create_bucket("bucket")
        stored = await put_some(cluster.nodes[0], "bucket", 24)
        away = cluster.nodes[2]
        fresh = cluster.add_node()
        await asyncio.to_thread(fresh.start)
        told = await asyncio.to_thread(document, cluster.nodes[1], "node", "list")
        assert [node["node"] for node in told["nodes"]] == ["n0", "n1", "n2", "n3"]
        assert told["nodes"][3]["devices"] == {}
        await asyncio.to_thread(_take_in, cluster)
        await settled(cluster.nodes, 3)
        assert len(load(str(fresh.ring)).members) == 8
        await check(fresh, "bucket", stored)
        # A node that was away catches up.
        await asyncio.to_thread(away.stop)
        assert on(cluster.nodes[0], "ring", "weight", "0", "2.0").status == 0
        assert on(cluster.nodes[0], "ring", "apply", "--now").status == 0
        epoch = document(cluster.nodes[0], "ring", "show")["epoch"]
        stored |= await put_some(cluster.nodes[1], "bucket", 8)
        await asyncio.to_thread(away.restart)
        await settled(cluster.nodes, epoch)
        for node in cluster.nodes:
            await check(node, "bucket", stored)


def _take_in(cluster: Cluster) -> None:
    """Ask for the fourth node's devices on the second node, and look before."""
    first, second = cluster.nodes[:2]
    assert "no node n9" in on(second, "ring", "add", "--node", "n9").err
    assert on(second, "ring", "add", "--node", "n3").status == 0
    planned = document(second, "ring", "plan")
    assert planned["moves"] > 0
    assert planned["bytes"] > 0
    assert planned["time_s"] > 0
    assert document(first, "ring", "show")["epoch"] == 1  # nothing has happened yet
    applied = document(second, "ring", "apply")
    assert applied["applied"]


async def test_a_wiped_device_is_replaced(tmp_path: Path) -> None:
    with start_cluster(tmp_path) as cluster:
        async with connect(cluster.nodes[0]) as s3:
            await s3.create_bucket("bucket")
        stored = await put_some(cluster.nodes[0], "bucket", 24)
        node = cluster.nodes[1]
        keeper = node.data / "keeper"
        lost = next(m for m in load(str(node.ring)).members if m.node == node.name)
        assert "nothing was lost" in on(cluster.nodes[0], "node", "replace", str(lost.id)).err
        await asyncio.to_thread(node.stop)
        shutil.rmtree(lost.path)
        keeper.unlink()  # and what it knew of the ring, which it gets from the other keepers
        await asyncio.to_thread(node.restart)
        replaced = await asyncio.to_thread(on, cluster.nodes[0], "node", "replace", str(lost.id))
        assert replaced.status == 0, replaced
        await settled(cluster.nodes, 3)
        await asyncio.to_thread(node.wait_for, lambda: keeper.stat().st_size > SOME_RING_BYTES)
        ring = load(str(node.ring))
        assert lost.id not in {member.id for member in ring.members}
        assert ring.members[-1].path == lost.path
        told = await asyncio.to_thread(document, cluster.nodes[2], "node", "list")
        assert all(why == "" for one in told["nodes"] for why in one["devices"].values()), told
        for other in cluster.nodes:
            await check(other, "bucket", stored)
