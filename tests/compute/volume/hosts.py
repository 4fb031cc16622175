"""A host of the add-on without ports and timers: requests are calls, and work is done in rounds.

So a test can begin again and again from one state, and let another step fail each time. The parts are
those of a real process (`compute.volume.room.wired`).
"""

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from multidict import CIMultiDict, MultiDict
from sqlalchemy import func, select

from compute.access import Context
from compute.backup.models import BackupCopy, BackupObject, BackupPage
from compute.database.engine import Database, DatabaseAway
from compute.identity.secrets import Sealer
from compute.image.cache import Cache
from compute.image.call import Images
from compute.image.imports.tasks import give_up
from compute.image.library import ImageLibrary
from compute.image.models import Effort, Hold, Image
from compute.image.rules import RULES as IMAGE_RULES
from compute.image.settings import Settings as ImageSettings
from compute.image.sweeper import Sweeper
from compute.objects.contract import ObjectStore
from compute.objects.errors import StoreAway, StoreRefused
from compute.objects.memory import MemoryStore
from compute.policy.enforcer import Enforcer
from compute.server.request import Request
from compute.site import Site
from compute.volume.attachments import UNWANTED, WANTED
from compute.volume.groups import IDLE
from compute.volume.models.attachments import Attachment, Transfer
from compute.volume.models.backups import Backup
from compute.volume.models.groups import GroupSnapshot, VolumeGroup
from compute.volume.models.volumes import ImageHold, Snapshot, Volume
from compute.volume.quotas import use_of
from compute.volume.room import Room, wired
from compute.volume.rules import RULES
from compute.volume.settings import Settings
from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from tests.compute.identity.cloud import SECRET
from tests.compute.volume.cloud import NEWEST
from tests.compute.volume.faults import FaultyDatabase, FaultyStore, Plan

PROJECT: Final = "a" * 32
OTHER: Final = "b" * 32
ROUNDS_MAX: Final = 12
LOOK_S: Final = 0.02
UNDER_WAY: Final = (
    *("creating", "deleting", "extending", "uploading", "downloading", "retyping", "reverting"),
    *("backing-up", "restoring-backup", "restoring", "detaching", "maintenance", "managing"),
)
"""What nothing may stay in."""
AWAY: Final = (StoreAway, StoreRefused, DatabaseAway)


class Tokens:
    """`Authenticator`: a token is its project's id, and whoever has one is an administrator."""

    async def context(self, token: str, *_: Any) -> Context | None:
        roles = ["admin", "manager", "member", "reader"]
        facts = {"user_id": "someone", "project_id": token, "system_scope": None, "roles": roles}
        named = ("someone", "default", token, token, "default", None, None)
        return Context(token, "someone", *named, frozenset(roles), facts)

    async def has_project(self, project_id: str) -> bool:
        return project_id in (PROJECT, OTHER)


class Told(NamedTuple):
    """An answer."""

    status: int
    body: Any


class Host:
    """One process. plan: what fails it."""

    def __init__(self, site: Site, room: Room, library: ImageLibrary, plan: Plan) -> None:
        self.site = site
        self.room = room
        self.library = library
        self.plan = plan
        self.sweeper = library._images.sweeper

    async def call(self, method: str, path: str, body: Any = None, *, project: str = PROJECT) -> Told:
        """A request at the newest version."""
        headers = {"X-Auth-Token": project, "OpenStack-API-Version": f"volume {NEWEST}"}
        where, _, query = path.partition("?")
        asked = MultiDict(parse_qsl(query))
        raw = msgspec.json.encode(body) if body is not None else b""
        answer = await self.room.service.answer(
            Request(
                *(method, f"/v3{where}", asked, CIMultiDict(headers)),
                *(raw, "http://cloud/volume", "req-1"),
            )
        )
        return Told(answer.status, msgspec.json.decode(answer.body) if answer.body else {})

    async def ok(self, method: str, path: str, body: Any = None, *, project: str = PROJECT) -> Any:
        """One that must succeed."""
        told = await self.call(method, path, body, project=project)
        assert told.status < 300, (method, path, told)
        return told.body

    async def act(self, volume_id: str, action: str, fields: Any = None) -> Any:
        """A volume's action."""
        return await self.ok("POST", f"/volumes/{volume_id}/action", {action: fields or {}})

    async def make(self, noun: str, **fields: Any) -> str:
        """A new one, made."""
        key = noun.removesuffix("s")
        ident: str = (await self.ok("POST", f"/{noun}", {key: fields}))[key]["id"]
        await self.work()
        return ident

    async def volume(self, **fields: Any) -> str:
        """A new one of 1 GiB."""
        return await self.make("volumes", **{"size": 1, **fields})

    async def show(self, noun: str, ident: str) -> Mapping[str, Any]:
        """One as the API tells it."""
        found: Mapping[str, Any] = (await self.ok("GET", f"/{noun}/{ident}"))[noun.removesuffix("s")]
        return found

    async def image(self, data: bytes, disk_format: str = "raw") -> str:
        """A new one of these bytes."""

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        context = await Tokens().context(PROJECT)
        assert context is not None
        fields = {"disk_format": disk_format, "container_format": "bare"}
        return await self.library.create(context, fields, chunks())

    async def write(self, volume_id: str, offset: int, data: bytes) -> None:
        """To a volume."""
        driver = self.room.drivers[await self.backend(volume_id)]
        async with driver.open(volume_id, writable=True) as disk:
            await disk.write(offset, data)

    async def read(self, volume_id: str, offset: int, length: int) -> bytes:
        """Of a volume."""
        driver = self.room.drivers[await self.backend(volume_id)]
        async with driver.open(volume_id, writable=False) as disk:
            return await disk.read(offset, length)

    async def backend(self, volume_id: str) -> str:
        """A volume's."""

        def look() -> str:
            with self.site.database.read() as session:
                return str(session.get_one(Volume, volume_id).backend)

        return await self.site.database.run(look)

    # -- work --

    async def work(self) -> None:
        """Rounds until nothing is under way. What is away now is there in the next one."""
        for _ in range(ROUNDS_MAX):
            await self.round()
            if not await self.under_way():
                return
        raise AssertionError(f"still under way: {await self.under_way()}")

    async def lives_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something, or die over it: then nothing goes on."""
        task = asyncio.create_task(work)
        while not task.done():
            await asyncio.wait([task], timeout=LOOK_S)
            if self.plan.is_dead:
                task.cancel()
        if not (self.plan.is_dead or task.cancelled()):
            task.result()

    async def round(self) -> None:
        """One of each kind."""
        room = self.room
        for work in (room.exports, room.volumes, room.groups, room.backups):
            with contextlib.suppress(*AWAY):
                await work.round()

    async def under_way(self) -> list[str]:
        """What the rows say."""
        return await self.site.database.run(self._under_way)

    def _under_way(self) -> list[str]:
        found = []
        with self.site.database.read() as session:
            for kind in (Volume, Snapshot, Backup):
                names = session.scalars(select(kind.status).where(kind.status.in_(UNDER_WAY)))
                found += [f"{kind.__name__} {name}" for name in names]
            for group in (VolumeGroup, GroupSnapshot):
                busy = session.scalars(select(group.status).where(group.host != IDLE))
                found += [f"{group.__name__} {name}" for name in busy]
            moving = session.scalars(select(Volume).where(Volume.migration_status == "migrating"))
            found += [f"migrating {row.id}" for row in moving]
            wishes = select(Attachment).where(Attachment.export.in_((WANTED, UNWANTED)))
            found += [f"attachment {row.export}" for row in session.scalars(wishes)]
            writing = session.scalars(select(Image).where(Image.status.in_(("saving", "uploading"))))
            found += [f"image {row.status}" for row in writing]
        return found

    # -- what must be true --

    async def check_usage(self) -> None:
        """What quotas count is what the API lists."""
        for project in (PROJECT, OTHER):
            listed = {
                noun: (await self.ok("GET", f"/{noun}/detail", project=project))[noun]
                for noun in ("volumes", "snapshots", "backups", "groups")
            }
            sizes = {noun: sum(row.get("size", 0) for row in rows) for noun, rows in listed.items()}
            with self.site.database.read() as session:
                use = use_of(session, project)
            for noun, rows in listed.items():
                assert use[noun].in_use == len(rows), (noun, project)
            assert use["gigabytes"].in_use == sizes["volumes"] + sizes["snapshots"]
            assert use["backup_gigabytes"].in_use == sizes["backups"]

    async def remove_all(self) -> None:
        """As users and administrators would, in an order that is possible."""
        for project in (PROJECT, OTHER):
            await self._remove_all(project)
        for ident in await self.site.database.run(lambda: self._ids(Image)):
            await self.library.forget(ident)
        await self.work()
        await self.sweeper.sweep()

    async def _remove_all(self, project: str) -> None:
        left = self.rows_left()

        async def each(noun: str, model: Any) -> Any:
            if model.__name__ not in left:
                return []
            return (await self.ok("GET", f"/{noun}/detail", project=project))[noun.rpartition("-")[2]]

        for row in await each("attachments", Attachment):
            await self.ok("DELETE", f"/attachments/{row['id']}", project=project)
        for row in await each("volume-transfers", Transfer):
            await self.ok("DELETE", f"/volume-transfers/{row['id']}", project=project)
        for row in await each("backups", Backup):  # the newest first: none adds to it
            await self.ok("DELETE", f"/backups/{row['id']}", project=project)
            await self.work()
        for row in await each("group_snapshots", GroupSnapshot):
            await self.ok("DELETE", f"/group_snapshots/{row['id']}", project=project)
            await self.work()
        for row in await each("groups", VolumeGroup):
            body: Any = {"delete": {"delete-volumes": True}}
            await self.ok("POST", f"/groups/{row['id']}/action", body, project=project)
            await self.work()
        for noun, model in (("snapshots", Snapshot), ("volumes", Volume)):
            rows = await each(noun, model)
            for row in rows:
                await self._delete(noun, row, project)
            if rows:
                await self.work()

    async def _delete(self, noun: str, row: Mapping[str, Any], project: str) -> None:
        if row["status"] == "error_deleting":
            body: Any = {"os-force_delete": {}}
            await self.ok("POST", f"/{noun}/{row['id']}/action", body, project=project)
        else:
            await self.ok("DELETE", f"/{noun}/{row['id']}", project=project)

    def _ids(self, model: Any) -> list[str]:
        with self.site.database.read() as session:
            return list(session.scalars(select(model.id)))

    def rows_left(self) -> dict[str, int]:
        """Of all that users make."""
        kinds = (Volume, Snapshot, Backup, VolumeGroup, GroupSnapshot, Attachment, Transfer, ImageHold)
        found = {}
        with self.site.database.read() as session:
            for kind in (*kinds, Image, Hold, Effort, BackupCopy, BackupPage, BackupObject):
                found[kind.__name__] = session.scalar(select(func.count()).select_from(kind)) or 0
        return {name: count for name, count in found.items() if count}


@contextlib.asynccontextmanager
async def running(
    url: str,
    store: MemoryStore,
    plan: Plan | None = None,
    *,
    name: str = "here",
    backends: tuple[str, ...] = ("ring",),
) -> AsyncIterator[Host]:
    """A process, started. At its end it is put away; one that died has tidied nothing up."""
    plan = plan or Plan()
    async with contextlib.AsyncExitStack() as stack:
        short = stack.enter_context(tempfile.TemporaryDirectory())
        database = FaultyDatabase(url, plan)
        stack.callback(database.close)
        site = _site(database, FaultyStore(store, plan), short, name)
        library = ImageLibrary(_images(site))
        stack.callback(setattr, plan, "is_buried", False)
        room = await stack.enter_async_context(
            wired(site, library, Settings(backends=backends), enforcer=_enforcer("volume"))
        )
        stack.callback(_bury, plan)
        host = Host(site, room, library, plan)
        await _start(host)
        yield host


@functools.cache
def _enforcer(room: str) -> Enforcer:
    """One for all hosts: it takes longer than a job's step."""
    return Enforcer(room, RULES if room == "volume" else IMAGE_RULES, "/nonexistent")


def _images(site: Site) -> Images:
    def nobody(_task_id: str) -> None:
        raise AssertionError("there are no tasks of images here")

    cache = Cache(f"{site.folder}/image-cache", 0, site.objects, site.now_us)
    return Images(site, _enforcer("image"), ImageSettings(), Sweeper(site), nobody, cache)


async def _start(host: Host) -> None:
    """What a process does before it serves."""
    kind, host.plan.kind = host.plan.kind, "none"
    await host.site.database.run(lambda: give_up(host.library._images))
    await host.site.database.run(host.sweeper.give_up)
    await host.room.heartbeat.beat()
    host.plan.kind, host.plan.steps = kind, 0


def _bury(plan: Plan) -> None:
    plan.is_buried = plan.is_dead


def _site(database: Database, objects: ObjectStore, folder: str, name: str) -> Site:
    return Site(
        *(database, Tokens(), objects, folder, "http://cloud", "RegionOne", name),
        *(SystemClock(), SystemRandomness(), lambda purpose: Sealer(SECRET, purpose)),
    )


class Saved(NamedTuple):
    """A moment of a cloud on SQLite, to begin from as often as needed."""

    database: bytes
    containers: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, path: Path, store: MemoryStore) -> "Saved":
        """Nobody may use it now."""
        return cls(path.read_bytes(), {name: dict(found) for name, found in store.containers.items()})

    def again(self, path: Path) -> MemoryStore:
        """The same moment, its database at another path."""
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        path.write_bytes(self.database)
        store = MemoryStore()
        store.containers = {name: dict(found) for name, found in self.containers.items()}
        return store


def objects_left(store: MemoryStore) -> list[str]:
    """Names of all objects."""
    return sorted(name for found in store.containers.values() for name in found)
