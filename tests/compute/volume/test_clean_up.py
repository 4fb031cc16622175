"""What a host had begun that will not come back is ended by another one; and what backups count."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from compute.objects.memory import MemoryStore
from compute.volume.models.services import VolumeService
from tests.compute.volume.hosts import Host, objects_left, running

DATA = bytes(range(256)) * 400


@pytest.fixture
async def host(database: str, tmp_path: Path) -> AsyncIterator[Host]:
    """The one that is left."""
    store = MemoryStore()
    async with running(database, store) as left:
        yield left
        await left.remove_all()
        assert left.rows_left() == {}
    assert objects_left(store) == []


def fall_silent(host: Host, name: str) -> None:
    with host.site.database.write("volume services") as session:
        for row in session.query(VolumeService).filter(VolumeService.host.startswith(name)):
            row.seen_us = 0


async def test_all_that_is_under_way_ends(host: Host) -> None:
    volumes = [await host.volume() for _ in range(4)]
    await host.write(volumes[0], 0, DATA)
    backup = await host.make("backups", volume_id=volumes[0])
    fields = {"volume_id": volumes[1]}
    begun = (await host.ok("POST", "/backups", {"backup": fields}))["backup"]["id"]
    body = {"restore": {"volume_id": volumes[2]}}
    await host.ok("POST", f"/backups/{backup}/restore", body)
    await host.act(volumes[3], "os-extend", {"new_size": 2})
    fall_silent(host, "here")
    await host.ok("POST", "/workers/cleanup", {"resource_type": "Backup", "resource_id": begun})
    assert (await host.show("backups", begun))["status"] == "error"
    assert (await host.show("backups", backup))["status"] == "restoring"
    await host.ok("POST", "/workers/cleanup", {})
    assert await host.under_way() == []
    assert (await host.show("backups", begun))["fail_reason"] == "The host of the backup is down."
    assert (await host.show("backups", backup))["status"] == "available"
    told = [await host.show("volumes", ident) for ident in volumes]
    assert [row["status"] for row in told] == [
        *("available", "available", "error_restoring", "error_extending")
    ]
    assert [row["size"] for row in told] == [1, 1, 1, 1]
    await host.check_usage()


async def test_a_backup_counts_its_objects(host: Host) -> None:
    volume = await host.volume()
    await host.write(volume, 0, DATA)
    first = await host.make("backups", volume_id=volume)
    assert (await host.show("backups", first))["object_count"] == 3  # a chunk, a page, the root
    await host.write(volume, 70 << 20, DATA)
    second = await host.make("backups", volume_id=volume, incremental=True)
    assert (await host.show("backups", second))["object_count"] == 4  # another page, the same chunk
