"""The admin port does the work for one page however many ask for it."""

import asyncio
import threading

from ring.lookup import Ring
from tests.unit.health.clusters import Cluster
from tools.admin import OncePerReport
from tools.health.report import ClusterReport


async def test_what_many_ask_for_at_once_is_made_once_of_each_report() -> None:
    cluster = Cluster()
    made: list[ClusterReport] = []
    go_on = threading.Event()

    def make(report: ClusterReport, _ring: Ring) -> int:
        go_on.wait(10)
        made.append(report)
        return len(made)

    once, first, second = OncePerReport(make), cluster.report, cluster.report
    asked = [asyncio.ensure_future(once.of(first, cluster.ring)) for _ in range(50)]
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(*asked) == [1] * 50
    assert await once.of(second, cluster.ring) == 2
    assert made == [first, second]
    assert made[1] is second
