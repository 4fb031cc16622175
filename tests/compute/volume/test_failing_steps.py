"""Each job of the volume core, with each of its steps failing in turn: nothing is left behind.

A step is a request to the object store or a commit. The answer is lost, or the store refuses; a job
ends as it was to end, or in a status that says so, and when all is deleted nothing is left: no row, no
object, no image kept for nobody.
"""

import asyncio
import itertools
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from compute.objects.memory import MemoryStore
from compute.volume.drivers.ring import volume as ring_volume
from tests.compute.conftest import MakeDatabase
from tests.compute.volume.faults import Kind, Plan
from tests.compute.volume.hosts import (
    OTHER,
    PROJECT,
    Host,
    Saved,
    objects_left,
    running,
)

MIB: Final = 1024 * 1024
WITHIN_S: Final = 20.0
DATA: Final = random.Random(1).randbytes(100_000)
PLACES: Final = (0, 9 * MIB + 5)
IMAGE: Final = random.Random(2).randbytes(200_000)

KINDS: Final[tuple[Kind, ...]] = ("lost", "refused", "dies")
EVERY_STEP: Final = "ATOLL_EVERY_STEP" in os.environ
TURNS: Final = range(len(KINDS) if EVERY_STEP else 1)
"""With the variable set, all of it befalls each step, which takes minutes. Else they take turns."""
REFUSED_AT_ONCE: Final = 6
"""So that what is done about it fails, too."""
NUMBERS: Final = itertools.count()

Ids = dict[str, str]
Prepare = Callable[[Host], Awaitable[Ids]]
Do = Callable[[Host, Ids], Awaitable[None]]
JOBS: Final[dict[str, tuple[Prepare, Do]]] = {}


def job(prepare: Prepare) -> Callable[[Do], Do]:
    """Register one: what is there before, and the requests that begin it."""

    def register(do: Do) -> Do:
        JOBS[do.__name__] = (prepare, do)
        return do

    return register


async def nothing(host: Host) -> Ids:
    return {}


async def a_volume(host: Host) -> Ids:
    volume = await host.volume(name="kept")
    for at in PLACES:
        await host.write(volume, at, DATA)
    return {"volume": volume}


async def a_snapshot(host: Host) -> Ids:
    ids = await a_volume(host)
    ids["snapshot"] = await host.make("snapshots", volume_id=ids["volume"], force=True)
    await host.write(ids["volume"], MIB, DATA)
    return ids


async def an_image(host: Host) -> Ids:
    return {"image": await host.image(IMAGE)}


@job(nothing)
async def create(host: Host, _ids: Ids) -> None:
    await host.call("POST", "/volumes", {"volume": {"size": 1}})


@job(an_image)
async def create_from_image(host: Host, ids: Ids) -> None:
    await host.call("POST", "/volumes", {"volume": {"size": 1, "imageRef": ids["image"]}})


@job(a_snapshot)
async def create_from_snapshot(host: Host, ids: Ids) -> None:
    await host.call("POST", "/volumes", {"volume": {"size": 2, "snapshot_id": ids["snapshot"]}})


@job(a_volume)
async def clone(host: Host, ids: Ids) -> None:
    await host.call("POST", "/volumes", {"volume": {"size": 2, "source_volid": ids["volume"]}})


@job(a_volume)
async def extend(host: Host, ids: Ids) -> None:
    await act(host, ids["volume"], "os-extend", {"new_size": 2})


@job(a_volume)
async def snapshot(host: Host, ids: Ids) -> None:
    await host.call("POST", "/snapshots", {"snapshot": {"volume_id": ids["volume"]}})


@job(a_volume)
async def delete(host: Host, ids: Ids) -> None:
    await host.call("DELETE", f"/volumes/{ids['volume']}")


@job(a_snapshot)
async def delete_cascade(host: Host, ids: Ids) -> None:
    await host.call("DELETE", f"/volumes/{ids['volume']}?cascade=true")


@job(a_snapshot)
async def delete_snapshot(host: Host, ids: Ids) -> None:
    await host.call("DELETE", f"/snapshots/{ids['snapshot']}")


@job(a_snapshot)
async def revert(host: Host, ids: Ids) -> None:
    await act(host, ids["volume"], "revert", {"snapshot_id": ids["snapshot"]})


@job(a_volume)
async def move(host: Host, ids: Ids) -> None:
    await act(host, ids["volume"], "os-migrate_volume", {"host": "here@disk#disk"})


async def two_types(host: Host) -> Ids:
    for name in ("ring", "disk"):
        fields = {"name": name, "extra_specs": {"volume_backend_name": name}}
        await host.ok("POST", "/types", {"volume_type": fields})
    return await a_volume(host)


@job(two_types)
async def move_by_retype(host: Host, ids: Ids) -> None:
    fields = {"new_type": "disk", "migration_policy": "on-demand"}
    await act(host, ids["volume"], "os-retype", fields)


@job(a_volume)
async def upload(host: Host, ids: Ids) -> None:
    fields = {"image_name": "made", "disk_format": "qcow2", "container_format": "bare"}
    await act(host, ids["volume"], "os-volume_upload_image", fields)


@job(a_volume)
async def attach_and_detach(host: Host, ids: Ids) -> None:
    fields = {"volume_uuid": ids["volume"], "connector": {"host": "client"}}
    told = await host.call("POST", "/attachments", {"attachment": fields})
    for row in (await host.call("GET", "/attachments")).body.get("attachments", []):
        if told.status == 200:
            await host.call("POST", f"/attachments/{row['id']}/action", {"os-complete": {}})
        await host.call("DELETE", f"/attachments/{row['id']}")


@job(a_snapshot)
async def transfer(host: Host, ids: Ids) -> None:
    fields = {"volume_id": ids["volume"]}
    told = await host.call("POST", "/volume-transfers", {"transfer": fields})
    if told.status == 202:
        made = told.body["transfer"]
        body = {"accept": {"auth_key": made["auth_key"]}}
        await host.call("POST", f"/volume-transfers/{made['id']}/accept", body, project=OTHER)


async def a_group(host: Host) -> Ids:
    specs = {"consistent_group_snapshot_enabled": "<is> True"}
    fields: dict[str, Any] = {"name": "together", "group_specs": specs}
    made = await host.ok("POST", "/group_types", {"group_type": fields})
    kind = (await host.ok("GET", "/types/default"))["volume_type"]["id"]
    fields = {"group_type": made["group_type"]["id"], "volume_types": [kind]}
    group = await host.make("groups", **fields)
    for _ in range(2):
        await host.volume(group_id=group)
    return {"group": group}


@job(a_group)
async def group_snapshot(host: Host, ids: Ids) -> None:
    await host.call("POST", "/group_snapshots", {"group_snapshot": {"group_id": ids["group"]}})


@job(a_group)
async def copy_of_a_group(host: Host, ids: Ids) -> None:
    body = {"create-from-src": {"source_group_id": ids["group"]}}
    await host.call("POST", "/groups/action", body)


@job(a_volume)
async def backup(host: Host, ids: Ids) -> None:
    await host.call("POST", "/backups", {"backup": {"volume_id": ids["volume"]}})


async def in_use(host: Host) -> Ids:
    ids = await a_volume(host)
    await host.act(ids["volume"], "os-attach", {"host_name": "client", "mountpoint": "/dev/vdb"})
    return ids


@job(in_use)
async def backup_while_in_use(host: Host, ids: Ids) -> None:
    fields = {"volume_id": ids["volume"], "force": True}
    await host.call("POST", "/backups", {"backup": fields})


async def a_backup(host: Host) -> Ids:
    ids = await a_volume(host)
    return ids | {"backup": await host.make("backups", volume_id=ids["volume"])}


@job(a_backup)
async def restore(host: Host, ids: Ids) -> None:
    await host.call("POST", f"/backups/{ids['backup']}/restore", {"restore": {}})


@job(a_backup)
async def restore_over(host: Host, ids: Ids) -> None:
    body = {"restore": {"volume_id": ids["volume"]}}
    await host.call("POST", f"/backups/{ids['backup']}/restore", body)


@job(a_backup)
async def create_from_backup(host: Host, ids: Ids) -> None:
    await host.call("POST", "/volumes", {"volume": {"size": 2, "backup_id": ids["backup"]}})


async def let_go(host: Host) -> Ids:
    ids = await a_volume(host)
    await act(host, ids["volume"], "os-unmanage", {})
    return ids


@job(let_go)
async def manage(host: Host, ids: Ids) -> None:
    await take_over(host, ids["volume"])


async def take_over(host: Host, name: str) -> None:
    """A volume that the backend has."""
    fields = {"host": "here@ring", "ref": {"source-name": name}, "name": "kept"}
    await host.call("POST", "/manageable_volumes", {"volume": fields})


async def take_over_what_is_left(host: Host) -> None:
    """Where it could not be taken over it is as it was, for the next who asks for it."""
    for row in (await host.ok("GET", "/volumes/detail"))["volumes"]:
        if row["status"] == "error_managing":
            await host.ok("DELETE", f"/volumes/{row['id']}")
    await host.work()
    known = {row["id"] for row in (await host.ok("GET", "/volumes"))["volumes"]}
    there = {each.name for each in await host.room.drivers["ring"].found()}
    assert there, "the volume is gone"
    for name in there - known:
        await take_over(host, name)
    await host.work()


@job(a_backup)
async def delete_backup(host: Host, ids: Ids) -> None:
    await host.call("DELETE", f"/backups/{ids['backup']}")


async def act(host: Host, volume_id: str, action: str, fields: Any) -> None:
    """An action that may fail."""
    await host.call("POST", f"/volumes/{volume_id}/action", {action: fields})


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_volume, "RETRY_S", 0.01)
    monkeypatch.setattr(ring_volume, "IDLE_S", 0.05)


def backends_of(name: str, path: Path) -> tuple[str, ...]:
    """Two for what moves between them."""
    folder = path.parent / f"disk-{next(NUMBERS)}"
    return ("ring", f"disk={folder}") if name.startswith("move") else ("ring",)


async def prepared(name: str, path: Path) -> tuple[Ids, Saved]:
    """What the job needs."""
    store = MemoryStore()
    backends = backends_of(name, path)
    async with running(f"sqlite:///{path}", store, backends=backends) as host:
        ids = await JOBS[name][0](host)
    return ids, Saved.of(path, store)


async def steps_of(name: str, ids: Ids, saved: Saved, path: Path) -> int:
    """How many there are, when nothing fails."""
    store = saved.again(path)
    backends = backends_of(name, path)
    async with running(f"sqlite:///{path}", store, backends=backends) as host:
        await done(host, name, ids)
        return host.plan.steps


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("name", JOBS)
async def test_nothing_is_left(name: str, turn: int, sqlite: MakeDatabase, tmp_path: Path) -> None:
    sqlite(tmp_path)
    path = tmp_path / "cloud.db"
    ids, saved = await prepared(name, path)
    steps = await steps_of(name, ids, saved, path)
    for first in range(1, steps + 1):
        kind = KINDS[(first + list(JOBS).index(name) + turn) % len(KINDS)]
        length = REFUSED_AT_ONCE if kind == "refused" and first % 2 else 1
        try:
            async with asyncio.timeout(WITHIN_S):
                await one(name, ids, saved, path, Plan(kind, first, length))
        except BaseException as error:
            error.add_note(f"step {first} of {steps} {kind}")
            raise


async def one(name: str, ids: Ids, saved: Saved, path: Path, plan: Plan) -> None:
    """One failure, and what a process finds that is started after it."""
    store = saved.again(path)
    url, backends = f"sqlite:///{path}", backends_of(name, path)
    async with running(url, store, plan, backends=backends) as host:
        await host.lives_for(done(host, name, ids))
    async with running(url, store, backends=backends) as host:
        await host.work()
        if name == manage.__name__:
            await take_over_what_is_left(host)
        await host.check_usage()
        await unharmed(host)
        await host.remove_all()
        assert host.rows_left() == {}
    assert objects_left(store) == [], objects_left(store)
    for backend in backends[1:]:
        folder = Path(backend.partition("=")[2])
        assert [file.name for file in folder.rglob("*") if file.is_file()] == ["lock"]


async def done(host: Host, name: str, ids: Ids) -> None:
    """What was asked for, to its end."""
    await JOBS[name][1](host, ids)
    await host.work()


async def unharmed(host: Host) -> None:
    """Who is called `kept` and available has its bytes."""
    for project in (PROJECT, OTHER):
        for row in (await host.ok("GET", "/volumes/detail", project=project))["volumes"]:
            if row["status"] in ("available", "in-use") and row["name"] == "kept":
                for at in PLACES:
                    assert await host.read(row["id"], at, len(DATA)) == DATA
