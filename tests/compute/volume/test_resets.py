"""A status that was set by hand begins no work: what is `creating` so is not made, nor deleted."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from compute.objects.memory import MemoryStore
from compute.volume.volume_jobs import jobs_of
from tests.compute.volume.whole import Whole, started


@pytest.fixture
async def cloud(database: str, tmp_path: Path) -> AsyncIterator[Whole]:
    """One process."""
    async with contextlib.AsyncExitStack() as stack:
        yield await stack.enter_async_context(started(tmp_path, database, MemoryStore()))


def to_do(cloud: Whole) -> list[str]:
    with cloud.site.database.read() as session:
        return [job.name for job in jobs_of(session, cloud.site.host)]


@pytest.mark.parametrize("status", ["creating", "extending", "uploading", "maintenance", "error"])
async def test_a_volumes(cloud: Whole, status: str) -> None:
    volume = await cloud.volume()
    await cloud.act(volume["id"], "os-reset_status", {"status": status})
    assert to_do(cloud) == []
    assert (await cloud.show("volumes", volume["id"]))["status"] == status
    await cloud.act(volume["id"], "os-force_delete", {})
    await cloud.until("volumes", volume["id"])


@pytest.mark.parametrize("status", ["creating", "deleting", "error_deleting"])
async def test_a_snapshots(cloud: Whole, status: str) -> None:
    volume = await cloud.volume()
    snapshot = await cloud.snapshot(volume["id"])
    where = f"/snapshots/{snapshot['id']}"
    await cloud.ok("POST", f"{where}/action", {"os-reset_status": {"status": status}})
    assert to_do(cloud) == []
    assert (await cloud.show("snapshots", snapshot["id"]))["status"] == status
    await cloud.ok("POST", f"{where}/action", {"os-force_delete": {}})
    await cloud.until("snapshots", snapshot["id"])


async def test_a_migration_status(cloud: Whole) -> None:
    volume = await cloud.volume()
    await cloud.act(volume["id"], "os-reset_status", {"migration_status": "migrating"})
    assert to_do(cloud) == []
    await cloud.act(volume["id"], "os-reset_status", {"migration_status": "none"})
    await cloud.act(volume["id"], "os-extend", {"new_size": 2})
    assert (await cloud.until("volumes", volume["id"], "available"))["size"] == 2
