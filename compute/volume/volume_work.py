"""Does what is to be done with volumes and snapshots.

As with groups and backups, the rows say what, and by which host: a process that was killed goes on
where it was, with verbs that may be done again. Each piece of work has a task of its own.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import select

from compute.database.engine import DatabaseAway
from compute.image.library import ImageLibrary
from compute.objects.errors import StoreAway, StoreRefused
from compute.server.errors import NotFound
from compute.site import Site
from compute.volume import images, moves
from compute.volume.call import ROOM
from compute.volume.drivers.contract import Driver
from compute.volume.models.volumes import ImageHold, Volume
from compute.volume.pools import GIB
from compute.volume.quotas import PER_VOLUME, reserve
from compute.volume.volume_jobs import MIGRATING, Job, fail, finish, jobs_of
from runtime.tasks import TaskOwner

ROUND_S: Final = 5.0
AGAIN: Final = (StoreAway, DatabaseAway, ConnectionError, TimeoutError)
"""What passes by itself: the row stays as it is, and the next round tries again."""

log = logging.getLogger("atoll.cloud.volume")


class Doing(NamedTuple):
    """A task, and the status for which it was begun."""

    task: asyncio.Task[Any]
    status: str


class VolumeWork:
    """The work of one process. drivers: by the names of backends."""

    def __init__(self, site: Site, drivers: Mapping[str, Driver], library: ImageLibrary) -> None:
        self._site = site
        self._drivers = drivers
        self._library = library
        self._asked = asyncio.Event()
        self._running: dict[str, Doing] = {}

    @property
    def library(self) -> ImageLibrary:
        """The images that volumes are made from."""
        return self._library

    @property
    def backends(self) -> Mapping[str, Driver]:
        """The host's, by their names."""
        return self._drivers

    def ask(self) -> None:
        """There is something to do now. Called on the event loop."""
        self._asked.set()

    async def run(self, tasks: TaskOwner) -> None:
        """Rounds until cancelled; an error ends nothing."""
        await asyncio.to_thread(images.remove_left, self._site.folder)
        while True:
            self._asked.clear()
            try:
                await self._begin(tasks)
            except Exception as error:
                log.warning("volumes could not be worked on: %s", error)
            try:
                async with asyncio.timeout(ROUND_S):
                    await self._asked.wait()
            except TimeoutError:
                pass

    async def _begin(self, tasks: TaskOwner) -> None:
        for job in await self._jobs():
            doing = self._running.get(job.owner)
            if doing is None:
                self._spawn(tasks, job.owner, partial(self.do, job), job.status)
            elif doing.status != job.status:  # forced: the row wants something else by now
                doing.task.cancel()
        if "holds" not in self._running:
            self._spawn(tasks, "holds", self.let_go)

    def _spawn(self, tasks: TaskOwner, name: str, work: Any, status: str = "") -> None:
        """One piece of work at a time for each volume and snapshot."""
        task = tasks.spawn(name, work())
        self._running[name] = Doing(task, status)

        def ended(task: asyncio.Task[Any]) -> None:
            del self._running[name]
            if task.cancelled():
                self.ask()

        task.add_done_callback(ended)

    async def round(self) -> None:
        """Do all that this host is to do, one after the other."""
        for job in await self._jobs():
            await self.do(job)
        await self.let_go()

    async def _jobs(self) -> list[Job]:
        def look() -> list[Job]:
            with self._site.database.read() as session:
                return jobs_of(session, self._site.host)

        found = await self._site.database.run(look)
        return [job for job in found if job.backend in self._drivers]

    async def do(self, job: Job) -> None:
        """One thing, to its end."""
        try:
            await self._done(job, self._drivers[job.backend])
        except AGAIN as error:
            log.warning("%s waits: %s", job.name, error)
        except Exception as error:
            log.warning("%s failed: %s", job.name, error)
            await self._undo(job)
            await self._site.database.run(lambda: self._end(job, failed=True))
        else:
            await self._site.database.run(lambda: self._end(job, failed=False))
            self.ask()

    def _end(self, job: Job, *, failed: bool) -> None:
        with self._site.database.write(ROOM, changes=False) as session:
            (fail if failed else finish)(session, self._site, job)

    async def _undo(self, job: Job) -> None:
        """Nothing stays of what was not made."""
        driver = self._drivers[job.backend]
        try:
            if job.status == "creating" and job.is_snapshot:
                await driver.delete_snapshot(job.ident, job.volume_id)
            elif job.status == "creating":
                await driver.delete(job.volume_id)
            elif job.status == "managing" and not job.is_snapshot:
                await _without_half(driver, job.volume_id)
            elif job.status == "uploading":
                await self._library.forget(str(job.task["image_id"]))
            elif job.is_moving:
                await self._drivers[str(job.task["backend"])].delete(job.volume_id)
        except Exception as error:
            log.warning("%s could not be taken back: %s", job.name, error)

    async def _done(self, job: Job, driver: Driver) -> None:
        if job.is_snapshot and job.status == "managing":
            async with driver.open_snapshot(job.ident, job.volume_id):
                pass  # it is there
        elif job.is_snapshot:
            verb = driver.snapshot if job.status == "creating" else driver.delete_snapshot
            await verb(job.ident, job.volume_id)
        elif job.status == "creating":
            await self._made(job, driver)
        elif job.status == "deleting":
            await self._deleted(job, driver)
        elif job.status == "managing":
            await self._adopted(job, driver)
        elif job.status == "extending":
            await driver.extend(job.volume_id, job.size_bytes)
        elif job.status == "reverting":
            await driver.revert(job.volume_id, str(job.task["snapshot_id"]))
        elif job.status == "uploading":
            await self._uploaded(job, driver)
        elif job.status == "downloading":
            await self._imaged(job, driver)
        elif job.status in ("retyping", MIGRATING) and "backend" in job.task:
            await self._moved(job, driver)

    async def _deleted(self, job: Job, driver: Driver) -> None:
        for snapshot_id in job.snapshots:
            await driver.delete_snapshot(snapshot_id, job.volume_id)
        await driver.delete(job.volume_id)
        for other in self._drivers.values():  # what a move could not remove
            if other is not driver:
                await other.delete(job.volume_id)

    async def _made(self, job: Job, driver: Driver) -> None:
        if "image" in job.task:
            await self._from_image(job, driver)
        elif job.snapshot_id is not None:
            await driver.create_from_snapshot(job.volume_id, job.snapshot_id, job.size_bytes)
        elif job.source_id is not None:
            await driver.clone(job.volume_id, job.source_id, job.size_bytes)
        else:
            await driver.create(job.volume_id, job.size_bytes)
        if job.snapshot_id is not None or job.source_id is not None:
            await driver.extend(job.volume_id, job.size_bytes)

    async def _adopted(self, job: Job, driver: Driver) -> None:
        """Its size is counted before it is taken over: there may be no room in the quota.

        Once it is here, what it was has to go, sooner or later: that is tried again, not given up.
        """
        name = str(job.task["name"])
        try:
            there = job.volume_id if await driver.exists(job.volume_id) else name
            async with driver.open(there, writable=False) as disk:
                size_gib = max(1, -(-disk.size_bytes // GIB))
            await self._site.database.run(lambda: self._count(job, size_gib))
            await driver.adopt(job.volume_id, name)
            await driver.extend(job.volume_id, size_gib * GIB)
        except StoreRefused as error:
            if await _may_exist(driver, job.volume_id):
                raise StoreAway(str(error)) from error
            raise

    def _count(self, job: Job, size_gib: int) -> None:
        with self._site.database.write(ROOM, changes=False) as session:
            row = session.get_one(Volume, job.volume_id)
            more = {"gigabytes": size_gib - row.size_gib, PER_VOLUME: size_gib}
            reserve(session, row.project_id, more, row.volume_type_id)
            row.size_gib = size_gib

    # -- images --

    async def _from_image(self, job: Job, driver: Driver) -> None:
        facts = job.task["image"]
        image_id = str(facts["image_id"])
        await self._library.hold(image_id, holder_of(job.volume_id))
        await self._site.database.run(lambda: self._remember(job, image_id))
        image = await images.source_of(self._library, image_id, facts)
        await images.make(driver, job.volume_id, image, job.size_bytes, self._site.folder)

    def _remember(self, job: Job, image_id: str) -> None:
        with self._site.database.write(ROOM, changes=False) as session:
            row = ImageHold(
                volume_id=job.volume_id,
                image_id=image_id,
                host=self._site.host,
                backend=job.backend,
            )
            session.merge(row)

    async def let_go(self) -> None:
        """Images' bytes on which nothing stands any more. One that can't be told holds up no other."""
        for row in await self._site.database.run(self._holds):
            driver = self._drivers.get(row.backend)
            if driver is None:
                continue
            try:
                if not await driver.keeps_image(row.volume_id):
                    await self._library.release(holder_of(row.volume_id))
                    await self._site.database.run(partial(self._forget, row.volume_id))
            except Exception as error:
                log.warning("the image of volume %s is kept: %s", row.volume_id, error)

    def _holds(self) -> list[ImageHold]:
        making = select(Volume.id).where(Volume.status == "creating")
        query = select(ImageHold).where(ImageHold.host == self._site.host)
        with self._site.database.read() as session:
            found = list(session.scalars(query.where(ImageHold.volume_id.not_in(making))))
            session.expunge_all()
            return found

    def _forget(self, volume_id: str) -> None:
        with self._site.database.write(ROOM, changes=False) as session:
            row = session.get(ImageHold, volume_id)
            if row is not None:
                session.delete(row)

    async def _imaged(self, job: Job, driver: Driver) -> None:
        """Another image over all that the volume holds."""
        facts = job.task["image"]
        image = await images.source_of(self._library, str(facts["image_id"]), facts)
        async with driver.open(job.volume_id, writable=True) as disk:
            await disk.zero(0, disk.size_bytes)
        await images.fill(driver, job.volume_id, image, self._site.folder)

    async def _uploaded(self, job: Job, driver: Driver) -> None:
        disk_format, image_id = str(job.task["disk_format"]), str(job.task["image_id"])
        async with images.image_bytes(driver, job.volume_id, disk_format, self._site.folder) as chunks:
            try:
                await self._library.fill(image_id, chunks)
            except NotFound:
                log.info("image %s was deleted before it had bytes", image_id)

    # -- from one backend to another --

    async def _moved(self, job: Job, driver: Driver) -> None:
        """Copy, let the row name the new place, delete the old one: each may be done again."""
        backend = str(job.task["backend"])
        if backend == job.backend:  # the copy is there, and the row says so
            await self._left(self._drivers[str(job.task["from"])], job)
            return
        target = self._drivers[backend]
        await moves.copy(driver, target, job.volume_id, job.size_bytes)
        if await self._site.database.run(lambda: self._flip(job, backend)):
            await self._left(driver, job)
        else:
            await target.delete(job.volume_id)

    async def _left(self, driver: Driver, job: Job) -> None:
        """Delete the old copy. Where that fails, it goes with the volume, which has moved."""
        try:
            await driver.delete(job.volume_id)
        except AGAIN:
            raise
        except Exception as error:
            log.warning("the old copy of volume %s is still there: %s", job.volume_id, error)

    def _flip(self, job: Job, backend: str) -> bool:
        with self._site.database.write(ROOM, changes=False) as session:
            row = session.get(Volume, job.volume_id)
            if row is None or row.backend != job.backend:
                return False
            row.backend = backend
            row.task = {**(row.task or {}), "from": job.backend}
            return True


async def _may_exist(driver: Driver, volume_id: str) -> bool:
    """Whether it is there, or nobody can tell now."""
    try:
        return await driver.exists(volume_id)
    except Exception:
        return True


async def _without_half(driver: Driver, volume_id: str) -> None:
    """What was begun of a volume goes. One that is whole stays: its bytes may be nowhere else."""
    if not await driver.exists(volume_id):
        await driver.delete(volume_id)


def holder_of(volume_id: str) -> str:
    """The name under which images are held for a volume."""
    return f"volume {volume_id}"
