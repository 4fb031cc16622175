"""The object store is away: who needs it hears 503 and why, and all goes on when it is there again."""

from pathlib import Path

from compute.objects.memory import MemoryStore
from tests.compute.volume.faults import Plan
from tests.compute.volume.hosts import Host, objects_left, running

FOREVER = 10**9


def away(plan: Plan) -> None:
    """From now on."""
    plan.kind, plan.first, plan.length = "lost", plan.steps + 1, FOREVER


async def attached(host: Host, volume: str) -> tuple[int, str]:
    """Of a request for an attachment: the status, and what is told."""
    fields = {"volume_uuid": volume, "connector": {"host": "client"}}
    told = await host.call("POST", "/attachments", {"attachment": fields})
    return told.status, told.body.get("serviceUnavailable", {}).get("message", "")


async def test_it_waits_and_goes_on(database: str, tmp_path: Path) -> None:
    store = MemoryStore()
    async with running(database, store) as host:
        volume = await host.volume()
        plan = host.plan
        host.site.database._plan = Plan()  # type: ignore[attr-defined] # it does not go away
        away(plan)
        said = "The object store is not available at the moment."
        assert await attached(host, volume) == (503, said)
        assert (await host.ok("GET", "/attachments"))["attachments"] == []
        assert (await host.show("volumes", volume))["status"] == "available"
        made = (await host.ok("POST", "/volumes", {"volume": {"size": 1}}))["volume"]["id"]
        await host.ok("POST", "/backups", {"backup": {"volume_id": volume}})
        for _ in range(3):
            await host.round()
        assert (await host.show("volumes", made))["status"] == "creating"
        assert (await host.show("volumes", volume))["status"] == "backing-up"
        plan.kind = "none"
        await host.work()
        assert (await host.show("volumes", made))["status"] == "available"
        assert (await attached(host, volume))[0] == 200
        await host.remove_all()
        assert host.rows_left() == {}
    assert objects_left(store) == []
