"""Backups over HTTP; the work at a backend in rounds that a test begins."""

import base64
import contextlib
import dataclasses
import json
import socket
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from compute.backup.vault import Vault
from compute.objects.errors import StoreAway
from compute.objects.memory import MemoryStore
from compute.site import Site
from compute.volume.backup_work import BackupWork
from compute.volume.drivers.contract import Disk, Driver, Extent, Usage
from compute.volume.drivers.errors import NoSuchVolume
from compute.volume.heartbeat import Heartbeat
from compute.volume.models.volumes import Snapshot, Volume
from tests.compute.backup.disk import MemoryDisk
from tests.compute.backup.site import names, noise
from tests.compute.volume.cloud import Volumes
from tests.compute.volume.rows import add_snapshot, add_volume, type_id
from tests.compute.volume.test_services import _site

GIB = 1 << 30
MIB = 1 << 20
Body = dict[str, Any]


class Disks:
    """A backend in memory. failing: verbs that fail, with what."""

    name = "ring"

    def __init__(self) -> None:
        self.volumes: dict[str, MemoryDisk] = {}
        self.snapshots: dict[str, MemoryDisk] = {}
        self.failing: dict[str, Exception] = {}
        self.told: Sequence[Extent] | None = None

    async def usage(self) -> Usage:
        return Usage(None, None)

    def _do(self, verb: str) -> None:
        if verb in self.failing:
            raise self.failing[verb]

    async def create(self, volume_id: str, size_bytes: int) -> None:
        self._do("create")
        self.volumes.setdefault(volume_id, MemoryDisk(size_bytes))

    async def snapshot(self, snapshot_id: str, volume_id: str) -> None:
        self._do("snapshot")
        if snapshot_id not in self.snapshots:
            kept = self.snapshots[snapshot_id] = MemoryDisk(self.volumes[volume_id].size_bytes)
            kept.units = dict(self.volumes[volume_id].units)

    async def delete_snapshot(self, snapshot_id: str, _volume_id: str) -> None:
        self.snapshots.pop(snapshot_id, None)

    async def changed(self, *_: str) -> Sequence[Extent] | None:
        return self.told

    @contextlib.asynccontextmanager
    async def open(self, volume_id: str, *, writable: bool) -> AsyncIterator[Disk]:
        self._do("write" if writable else "read")
        if volume_id not in self.volumes:
            raise NoSuchVolume(volume_id)
        yield self.volumes[volume_id]

    @contextlib.asynccontextmanager
    async def open_snapshot(self, snapshot_id: str, _volume_id: str) -> AsyncIterator[Disk]:
        self._do("read")
        yield self.snapshots[snapshot_id]


class Backups:
    """Two hosts: h1 with a backend, and the one of the process that is asked."""

    def __init__(self, volumes: Volumes, project: str) -> None:
        self.volumes = volumes
        self.project = project
        self.disks = Disks()
        self.store = MemoryStore()
        self.sites = [_on(volumes, host, self.store) for host in ("h1", socket.gethostname())]
        self.database = volumes.cloud.identity.database

    async def round(self) -> None:
        """As other processes of the hosts would do it: nothing is remembered between two."""
        h1, here = self.sites
        drivers = {"ring": cast(Driver, cast(Any, self.disks))}
        await BackupWork(h1, drivers, Vault(h1)).round()
        await BackupWork(here, {}, Vault(here)).round()

    async def volume(self, data: bytes = b"", **fields: Any) -> str:
        """A volume of a GiB that begins with these bytes."""
        ident = str(uuid.uuid4())
        kind = type_id(self.database)
        known = {"host": "h1", "backend": "ring", "volume_type_id": kind, "meta": {"a": "b"}}
        add_volume(self.database, ident, self.project, **{**known, **fields})
        disk = self.disks.volumes[ident] = MemoryDisk(GIB)
        if data:
            await disk.write(0, data)
        return ident

    async def make(self, volume_id: str, *, done: bool = True, **fields: Any) -> str:
        """A backup."""
        body = {"backup": {"volume_id": volume_id, **fields}}
        made = (await self.volumes.ok("POST", "/backups", body))["backup"]
        assert set(made) == {"id", "name", "links"}
        if done:
            await self.round()
            assert (await self.show(made["id"]))["status"] == "available"
        return str(made["id"])

    async def show(self, ident: str) -> Body:
        """A backup."""
        found: Body = (await self.volumes.ok("GET", f"/backups/{ident}"))["backup"]
        return found

    async def refused(self, status: int, method: str, path: str, **body: Any) -> str:
        """What the client is told."""
        return await self.volumes.refused(status, method, path, body or None)

    async def delete(self, ident: str) -> None:
        """Delete one, and see it gone."""
        assert (await self.volumes.call("DELETE", f"/backups/{ident}")).status == 202
        await self.round()
        assert (await self.volumes.call("GET", f"/backups/{ident}")).status == 404

    def status(self, ident: str, model: Any = Volume) -> str:
        """Of a volume."""
        with self.database.read() as session:
            return str(session.get_one(model, ident).status)


def _on(volumes: Volumes, host: str, store: MemoryStore) -> Site:
    return dataclasses.replace(_site(volumes, host), objects=store)


@pytest.fixture
async def backups(volumes: Volumes) -> Backups:
    scope = (await volumes.cloud.validate(volumes.cloud.token))["token"]
    made = Backups(volumes, scope["project"]["id"])
    await Heartbeat(made.sites[0], {"ring": made.disks}).beat()
    return made


async def test_a_backup_and_its_restore_to_a_new_volume(backups: Backups) -> None:
    data = noise(3 * MIB, 1)
    volume = await backups.volume(data, is_bootable=True)
    ident = await backups.make(volume, done=False, name="n", description="d", container="c")
    assert backups.status(volume) == "backing-up"
    await backups.round()
    shown = await backups.show(ident)
    assert (shown["status"], shown["size"], shown["container"]) == ("available", 1, "c")
    assert (shown["is_incremental"], shown["has_dependent_backups"]) == (False, False)
    assert shown["os-backup-project-attr:project_id"] == backups.project
    assert backups.status(volume) == "available"
    body: Body = {"restore": {}}
    told = (await backups.volumes.ok("POST", f"/backups/{ident}/restore", body))["restore"]
    assert told["backup_id"] == ident
    assert (await backups.show(ident))["status"] == "restoring"
    await backups.round()
    assert backups.status(told["volume_id"]) == "available"
    restored = backups.disks.volumes[told["volume_id"]]
    assert restored.content() == backups.disks.volumes[volume].content()
    with backups.database.read() as session:
        row = session.get_one(Volume, told["volume_id"])
        assert (row.meta, row.is_bootable) == ({"a": "b"}, True)
    await backups.delete(ident)
    assert names(backups.sites[0]) == set()


async def test_a_volume_made_from_a_backup(backups: Backups) -> None:
    volume = await backups.volume(noise(2 * MIB, 9), is_bootable=True)
    ident = await backups.make(volume)
    for body, status in (
        ({"backup_id": str(uuid.uuid4())}, 404),
        ({"backup_id": ident, "snapshot_id": ident}, 400),
    ):
        await backups.volumes.refused(status, "POST", "/volumes", {"volume": body})
    made = (
        await backups.volumes.ok(
            "POST", "/volumes", {"volume": {"backup_id": ident, "size": 2, "name": "n"}}
        )
    )["volume"]
    assert (made["status"], made["size"], made["name"]) == ("creating", 2, "n")
    said = await backups.volumes.refused(400, "POST", "/volumes", {"volume": {"backup_id": ident}})
    assert said == "Invalid backup: Originating backup status must be one of 'available' values"
    await backups.round()
    assert backups.status(made["id"]) == "available"
    restored = backups.disks.volumes[made["id"]]
    assert restored.size_bytes == 2 * GIB
    assert restored.content() == backups.disks.volumes[volume].content()
    backups.disks.failing["create"] = RuntimeError("broken")
    again: Body = {"volume": {"backup_id": ident}}
    other = (await backups.volumes.ok("POST", "/volumes", again))["volume"]
    assert other["size"] == 1
    await backups.round()
    assert backups.status(other["id"]) == "error"
    assert (await backups.show(ident))["status"] == "available"
    del backups.disks.failing["create"]


async def test_incremental_ones_hold_what_they_add_to(backups: Backups) -> None:
    volume = await backups.volume(noise(2 * MIB, 2))
    said = await backups.refused(
        400, "POST", "/backups", backup={"volume_id": volume, "incremental": True}
    )
    assert said == "Invalid backup: No backups available to do an incremental backup."
    first = await backups.make(volume)
    await backups.disks.volumes[volume].write(5 * MIB, b"new")
    second = await backups.make(volume, incremental=True)
    assert (await backups.show(second))["is_incremental"] is True
    assert (await backups.show(first))["has_dependent_backups"] is True
    said = await backups.refused(400, "DELETE", f"/backups/{first}")
    assert said == "Invalid backup: Incremental backups exist for this backup."
    target = await backups.volume(noise(MIB, 3))
    await backups.volumes.ok("POST", f"/backups/{second}/restore", {"restore": {"volume_id": target}})
    assert backups.status(target) == "restoring-backup"
    await backups.round()
    disks = backups.disks.volumes
    assert disks[target].content() == disks[volume].content()
    await backups.delete(second)
    await backups.delete(first)


async def test_of_a_snapshot_and_of_a_volume_in_use(backups: Backups) -> None:
    volume = await backups.volume(noise(MIB, 4), status="in-use")
    body = {"volume_id": volume}
    said = await backups.refused(400, "POST", "/backups", backup=body)
    assert said == "Invalid volume: Backing up an in-use volume must use the force flag."
    live = await backups.make(volume, force=True)
    assert backups.status(volume) == "in-use"
    assert backups.disks.snapshots == {}
    snapshot = str(uuid.uuid4())
    add_snapshot(backups.database, snapshot, volume, backups.project)
    await backups.disks.snapshot(snapshot, volume)
    ident = await backups.make(volume, done=False, snapshot_id=snapshot)
    assert backups.status(snapshot, Snapshot) == "backing-up"
    await backups.round()
    assert backups.status(snapshot, Snapshot) == "available"
    assert (await backups.show(ident))["snapshot_id"] == snapshot
    await backups.delete(ident)
    await backups.delete(live)


async def test_what_passes_is_tried_again_with_the_same_bytes(backups: Backups) -> None:
    volume = await backups.volume(noise(MIB, 5), status="in-use")
    ident = await backups.make(volume, done=False, force=True)
    before = backups.disks.volumes[volume].content()
    backups.disks.failing["read"] = StoreAway("for now")
    await backups.round()
    assert (await backups.show(ident))["status"] == "creating"
    await backups.disks.volumes[volume].write(0, noise(MIB, 6))
    backups.disks.failing.clear()
    await backups.round()
    target = await backups.volume()
    await backups.volumes.ok("POST", f"/backups/{ident}/restore", {"restore": {"volume_id": target}})
    await backups.round()
    assert backups.disks.volumes[target].content() == before


@pytest.mark.parametrize("verb", ["snapshot", "read"])
async def test_a_backup_that_fails_leaves_nothing(backups: Backups, verb: str) -> None:
    volume = await backups.volume(noise(MIB, 7), status="in-use")
    backups.disks.failing[verb] = OSError("broken")
    ident = await backups.make(volume, done=False, force=True)
    await backups.round()
    shown = await backups.show(ident)
    assert (shown["status"], shown["fail_reason"]) == ("error", "OSError")
    assert backups.status(volume) == "in-use"
    assert backups.disks.snapshots == {}
    assert names(backups.sites[0]) == set()
    said = await backups.refused(400, "POST", f"/backups/{ident}/restore", restore={})
    assert said == "Invalid backup: Backup status must be available"
    await backups.delete(ident)


@pytest.mark.parametrize("verb", ["create", "write"])
async def test_a_restore_that_fails(backups: Backups, verb: str) -> None:
    ident = await backups.make(await backups.volume(noise(MIB, 8)))
    backups.disks.failing[verb] = OSError("broken")
    told = (await backups.volumes.ok("POST", f"/backups/{ident}/restore", {"restore": {}}))["restore"]
    await backups.round()
    assert (await backups.show(ident))["status"] == "available"
    assert backups.status(told["volume_id"]) == "error_restoring"


async def test_forced_deletion_and_reset_end_what_is_under_way(backups: Backups) -> None:
    volume = await backups.volume(noise(MIB, 9))
    ident = await backups.make(volume, done=False)
    said = await backups.refused(400, "DELETE", f"/backups/{ident}")
    assert said == "Invalid backup: Backup status must be available or error"
    await backups.volumes.ok("POST", f"/backups/{ident}/action", {"os-force_delete": {}})
    assert backups.status(volume) == "available"
    await backups.round()
    assert (await backups.volumes.call("GET", f"/backups/{ident}")).status == 404
    other = await backups.make(volume, done=False)
    action = {"os-reset_status": {"status": "error"}}
    await backups.volumes.ok("POST", f"/backups/{other}/action", action)
    assert (await backups.show(other))["status"] == "error"
    assert backups.status(volume) == "available"
    action = {"os-reset_status": {"status": "strange"}}
    await backups.refused(400, "POST", f"/backups/{other}/action", **action)


async def test_a_record_goes_out_and_comes_in(backups: Backups) -> None:
    volume = await backups.volume(noise(MIB, 10))
    ident = await backups.make(volume, name="n")
    record = (await backups.volumes.ok("GET", f"/backups/{ident}/export_record"))["backup-record"]
    assert record["backup_service"].startswith("cinder.backup.drivers")
    path = "/backups/import_record"
    said = await backups.refused(400, "POST", path, **{"backup-record": record})
    assert said == "Invalid backup: Backup already exists in database."
    fields = json.loads(base64.b64decode(record["backup_url"]))
    fields["id"] = new = str(uuid.uuid4())
    record["backup_url"] = base64.b64encode(json.dumps(fields).encode()).decode()
    made = await backups.volumes.call("POST", path, {"backup-record": record})
    assert (made.status, made["backup"]["id"]) == (201, new)
    await backups.round()
    await backups.delete(ident)
    assert (await backups.show(new))["status"] == "available"
    target = await backups.volume()
    await backups.volumes.ok("POST", f"/backups/{new}/restore", {"restore": {"volume_id": target}})
    await backups.round()
    disks = backups.disks.volumes
    assert disks[target].content() == disks[volume].content()
    record["backup_url"] = "bm90aGluZw=="
    said = await backups.refused(400, "POST", path, **{"backup-record": record})
    assert said == "Invalid input received: Can't parse backup record."


async def test_lists_names_and_who_may(backups: Backups) -> None:
    volume = await backups.volume()
    made = [await backups.make(volume, name=f"n{number}", metadata={"k": "v"}) for number in range(3)]
    got = await backups.volumes.ok("GET", "/backups?limit=2&sort=name:asc&with_count=true")
    assert [row["name"] for row in got["backups"]] == ["n0", "n1"]
    assert got["count"] == 3
    assert got["backups_links"][0]["rel"] == "next"
    got = await backups.volumes.ok("GET", f"/backups/detail?name=n2&volume_id={volume}")
    assert [row["id"] for row in got["backups"]] == made[2:]
    old = await backups.volumes.call("GET", f"/backups/{made[0]}", version="3.0")
    assert not {"metadata", "user_id", "os-backup-project-attr:project_id"} & set(old["backup"])
    body = {"backup": {"name": "new", "metadata": {}}}
    assert (await backups.volumes.ok("PUT", f"/backups/{made[0]}", body))["backup"]["name"] == "new"
    _, token = await backups.volumes.user("member")
    reply = await backups.volumes.call("GET", f"/backups/{made[0]}", token=token)
    assert reply.status == 404
    assert (await backups.volumes.ok("GET", "/backups", token=token))["backups"] == []
    path = f"/backups/{made[0]}/export_record"
    assert (await backups.volumes.call("GET", path, token=token)).status == 404


async def test_quotas_count_backups(backups: Backups) -> None:
    volume = await backups.volume()
    where = f"/os-quota-sets/{backups.project}"
    await backups.volumes.ok("PUT", where, {"quota_set": {"backups": 1}})
    ident = await backups.make(volume)
    said = await backups.refused(413, "POST", "/backups", backup={"volume_id": volume})
    assert said == "Maximum number of backups allowed (1) exceeded"
    assert backups.status(volume) == "available"
    await backups.delete(ident)
    await backups.make(volume)
