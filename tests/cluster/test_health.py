"""What any node says of the whole cluster: all well, a node frozen, a node killed, and well again."""

import asyncio
import re
from pathlib import Path
from typing import Any

from tests.api.cli.commands import atoll
from tests.cluster.nodes import Cluster, Node, start_cluster
from tests.cluster.s3 import connect
from tools.status import ask, document

OBJECTS = 12


def told(node: Node) -> dict[str, Any]:
    """What a node's admin port says of the cluster."""
    return document(ask(node.admin_url))


def objects(node: Node) -> list[str]:
    return [found["text"] for found in told(node)["findings"] if found["about"] == "objects"]


def count_again(cluster: Cluster) -> None:
    """Don't wait for the next census."""
    for node in cluster.nodes:
        assert atoll("repair", "run", "census", "--config", node.config).status == 0


def wait_for_objects(node: Node, pattern: str) -> None:
    node.wait_for(lambda: any(re.fullmatch(pattern, text) for text in objects(node)))


async def test_any_node_tells_how_the_cluster_is(tmp_path: Path) -> None:
    with start_cluster(tmp_path) as cluster:
        first, second, _, last = cluster.nodes
        async with connect(first) as s3:
            await s3.create_bucket("bucket")
            for number in range(OBJECTS):
                assert (await s3.put("bucket", f"k{number}", b"x")).status == 200
        await asyncio.to_thread(_check, cluster, first, second, last)


def _check(cluster: Cluster, first: Node, second: Node, last: Node) -> None:
    count_again(cluster)
    for node in (first, last):
        wait_for_objects(node, f"all {OBJECTS} objects at full copies")
    well = told(second)
    assert well["level"] == "ok"
    assert well["facts"]["devices"]["serving"] == 8
    assert well["facts"]["processes"] == {"answered": 4, "silent": 0}
    assert set(well["facts"]["clock_offset_s"]) == {"n0", "n1", "n2", "n3"}
    assert all(abs(offset) < 1 for offset in well["facts"]["clock_offset_s"].values())
    assert "all 3 keepers answer (n0, n1 and n2)" in _texts(well)

    last.freeze()
    short = r"\d+ objects? at 2 of 3 because node n3 is unreachable since \d\d:\d\d \(2 devices\).*"
    wait_for_objects(first, short)
    assert atoll("status", "--admin-url", second.admin_url).status == 1
    frozen = told(second)
    assert frozen["level"] == "degraded"
    assert frozen["facts"]["nodes"]["unreachable"] == ["n3"]
    (rows,) = frozen["facts"]["copies"]["rows"]["short"]
    assert 0 < rows["count"] <= OBJECTS
    assert b"node n3 is unreachable" in first.ask_admin("/")
    examined = atoll("doctor", "--config", first.config, "--json")
    assert examined.status == 1
    assert any(found["about"] == "node n3" for found in examined.document["findings"])
    last.thaw()
    first.wait_for(lambda: told(first)["level"] == "ok")

    last.kill()
    first.wait_for(lambda: told(first)["facts"]["nodes"]["unreachable"] == ["n3"])
    killed = told(first)
    assert killed["level"] == "degraded"
    assert any(re.match(r"is unreachable since \d\d:\d\d: ", text) for text in _texts(killed))


def _texts(document: dict[str, Any]) -> list[str]:
    return [found["text"] for found in document["findings"]]
