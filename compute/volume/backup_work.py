"""Does what backups ask for: takes, restores, imports, deletes, sweeps.

As with groups, the rows say what is to be done, and by which host; a process that was killed goes on
where it was. Each backup has a task of its own, so that a long one holds up nobody.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.backup.errors import Damaged, NoSuchCopy, TakenOver
from compute.backup.vault import Copy, Vault
from compute.database.engine import DatabaseAway
from compute.objects.errors import StoreAway
from compute.site import Site
from compute.volume.backups import copy_of, release
from compute.volume.call import ROOM
from compute.volume.drivers.contract import Disk, Driver, Extent
from compute.volume.drivers.errors import NoSuchVolume
from compute.volume.messages import add_message
from compute.volume.models.backups import Backup
from compute.volume.models.volumes import Volume
from compute.volume.pools import GIB
from compute.volume.volume_work import Doing
from runtime.errors import AtollError
from runtime.tasks import TaskOwner

ROUND_S: Final = 5.0
AGAIN: Final = (StoreAway, DatabaseAway, ConnectionError, TimeoutError)
"""What passes by itself: the row stays as it is, and the next round tries again."""
SAID: Final = {"creating": ("013", "020"), "restoring": ("015", "026"), "deleting": ("014", "025")}
"""Action and reason of the message to the users."""

log = logging.getLogger("atoll.cloud.volume")


class Job(NamedTuple):
    """One thing to do. volume_id: to read from, or to restore to. is_live: the volume is in use.

    parent: the copy to add to, with the snapshot that it was made from.
    """

    ident: str
    status: str
    project_id: str
    volume_id: str
    backend: str
    snapshot_id: str | None = None
    is_live: bool = False
    parent_id: str | None = None
    parent_snapshot_id: str | None = None
    copy: Copy | None = None
    new_bytes: int = 0


class BackupWork:
    """The work of one process."""

    def __init__(self, site: Site, drivers: Mapping[str, Driver], vault: Vault) -> None:
        self._site = site
        self._drivers = drivers
        self._vault = vault
        self._asked = asyncio.Event()
        self._running: dict[str, Doing] = {}

    @property
    def vault(self) -> Vault:
        """Where the copies are."""
        return self._vault

    def ask(self) -> None:
        """There is something to do now. Called on the event loop."""
        self._asked.set()

    async def run(self, tasks: TaskOwner) -> None:
        """Rounds until cancelled; an error ends nothing."""
        while True:
            try:
                await self.begin(tasks)
            except Exception as error:
                log.warning("backups could not be worked on: %s", error)
            try:
                async with asyncio.timeout(ROUND_S):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()

    async def begin(self, tasks: TaskOwner) -> None:
        """Begin all that this host is to do and does not yet."""
        for job in await self._jobs():
            doing = self._running.get(job.ident)
            if doing is None:
                self._spawn(tasks, job.ident, partial(self.do, job), job.status)
            elif doing.status != job.status:  # forced: the row wants something else by now
                doing.task.cancel()
        if "sweep" not in self._running:
            self._spawn(tasks, "sweep", self._vault.sweep)

    def _spawn(self, tasks: TaskOwner, name: str, work: Callable[[], Any], status: str = "") -> None:
        """One piece of work at a time for each backup."""
        task = tasks.spawn(name, work())
        self._running[name] = Doing(task, status)

        def ended(task: asyncio.Task[Any]) -> None:
            del self._running[name]
            if task.cancelled():
                self.ask()

        task.add_done_callback(ended)

    async def round(self) -> None:
        """Do all that this host is to do, one after the other, then sweep."""
        for job in await self._jobs():
            await self.do(job)
        await self._vault.sweep()

    async def _jobs(self) -> list[Job]:
        def look() -> list[Job]:
            with self._site.database.read() as session:
                return jobs_of(session, self._site.host)

        return await self._site.database.run(look)

    async def do(self, job: Job) -> None:
        """One thing, to its end."""
        try:
            made = await self._done(job)
            count = await self._vault.count(made.copy_id) if made is not None else 0
        except AGAIN as error:
            log.warning("%s of backup %s waits: %s", job.status, job.ident, error)
        except TakenOver:
            log.info("%s of backup %s was taken over", job.status, job.ident)
        except Exception as error:
            log.warning("%s of backup %s failed: %s", job.status, job.ident, error)
            if job.status == "creating":
                await self._vault.drop(job.ident)
            reason = _told(error)
            await self._site.database.run(lambda: self._failed(job, reason))
        else:
            await self._site.database.run(lambda: self._end(job, made, count))
            self.ask()

    async def _done(self, job: Job) -> Copy | None:
        if job.status == "deleting":
            await self._vault.drop(job.ident)
            await self._forget_snapshot(job)
            return None
        if job.status == "restoring":
            await self._restored(job)
            return None
        if job.copy is not None:
            return await self._vault.adopt(job.ident, job.project_id, job.copy)
        return await self._taken(job)

    def _driver(self, job: Job) -> Driver:
        if job.backend not in self._drivers:
            raise NoSuchVolume(f"there is no backend {job.backend} on this host")
        return self._drivers[job.backend]

    async def _taken(self, job: Job) -> Copy:
        driver = self._driver(job)
        snapshot_id = job.snapshot_id
        if job.is_live:  # others write to it: a snapshot of our own keeps one moment
            snapshot_id = job.ident
            await driver.snapshot(snapshot_id, job.volume_id)
        try:
            made = await self._copied(job, driver, snapshot_id)
        except AGAIN:
            raise  # the snapshot stays for the next try, which goes on with the same bytes
        except Exception:
            await self._forget_snapshot(job)
            raise
        await self._forget_snapshot(job)
        return made

    async def _forget_snapshot(self, job: Job) -> None:
        if job.is_live and job.backend in self._drivers:
            await self._drivers[job.backend].delete_snapshot(job.ident, job.volume_id)

    async def _copied(self, job: Job, driver: Driver, snapshot_id: str | None) -> Copy:
        async with AsyncExitStack() as stack:
            return await self._vault.take(
                job.ident,
                job.project_id,
                await self._opened(stack, driver, job.volume_id, snapshot_id),
                parent_id=job.parent_id,
                changed=await _changed(driver, job),
                goes_on=snapshot_id is not None,
            )

    async def _opened(
        self, stack: AsyncExitStack, driver: Driver, volume_id: str, snapshot_id: str | None
    ) -> Disk:
        if snapshot_id is not None:
            return await stack.enter_async_context(driver.open_snapshot(snapshot_id, volume_id))
        return await stack.enter_async_context(driver.open(volume_id, writable=False))

    async def _restored(self, job: Job) -> None:
        driver = self._driver(job)
        assert job.copy is not None
        if job.new_bytes:
            await driver.create(job.volume_id, job.new_bytes)
        async with driver.open(job.volume_id, writable=True) as disk:
            await self._vault.restore(job.copy, disk, is_blank=bool(job.new_bytes))

    # -- the rows afterwards --

    def _end(self, job: Job, made: Copy | None, count: int) -> None:
        now = self._site.now_us()
        with self._site.database.write(ROOM, changes=False) as session:
            row = session.get(Backup, job.ident)
            if row is None or row.status != job.status:
                return
            if job.status == "deleting":
                session.delete(row)
                return
            if made is not None:
                row.store, row.copy_id, row.sealed_key = made
                row.object_count = count
            if job.new_bytes and (volume := session.get(Volume, job.volume_id)) is not None:
                volume.launched_us = now
            release(session, row, restored=True)
            row.status, row.updated_us, row.fail_reason = "available", now, None

    def _failed(self, job: Job, reason: str) -> None:
        with self._site.database.write(ROOM, changes=False) as session:
            row = session.get(Backup, job.ident)
            if row is not None and row.status == job.status:
                fail(session, self._site, row, reason)


def fail(session: Session, site: Site, row: Backup, reason: str) -> None:
    """What is under way with a backup came to nothing."""
    action, detail = SAID[row.status]
    release(session, row)
    row.status = "available" if row.status == "restoring" else "error"
    row.fail_reason, row.updated_us = reason, site.now_us()
    add_message(session, site, row.project_id, "VOLUME_BACKUP", row.id, action, detail)


def end(session: Session, site: Site, host: str, ident: str | None) -> None:
    """End what a host that is down has begun. ident: of one backup alone."""
    query = select(Backup).where(Backup.host == host, Backup.status.in_(tuple(SAID)))
    for row in session.scalars(query if ident is None else query.where(Backup.id == ident)).all():
        fail(session, site, row, "The host of the backup is down.")


async def _changed(driver: Driver, job: Job) -> Sequence[Extent] | None:
    """What may differ from the parent, where both were made from snapshots that are still there."""
    if job.snapshot_id is None or job.parent_snapshot_id is None:
        return None
    try:
        return await driver.changed(job.snapshot_id, job.parent_snapshot_id, job.volume_id)
    except NoSuchVolume:
        return None


def _told(error: Exception) -> str:
    """What a backup's owner may read."""
    if isinstance(error, NoSuchCopy):
        return "The data of the backup are not there."
    if isinstance(error, Damaged | AtollError):
        return str(error)
    return f"{type(error).__name__}"


def jobs_of(session: Session, host: str) -> list[Job]:
    """What a host is to do."""
    query = select(Backup).where(
        Backup.host == host, Backup.status.in_(("creating", "restoring", "deleting"))
    )
    return [_job(session, row) for row in session.scalars(query)]


def _job(session: Session, row: Backup) -> Job:
    target = row.restore_volume_id if row.status == "restoring" else None
    volume_id = target or row.volume_id
    volume = session.get(Volume, volume_id)
    job = Job(row.id, row.status, row.project_id, volume_id, str(volume and volume.backend))
    if row.status == "restoring":
        size = volume.size_gib * GIB if volume is not None and row.restore_new else 0
        return job._replace(copy=copy_of(row), new_bytes=size)
    if row.status == "deleting":
        return job._replace(is_live=row.copy_id is None and volume is not None)
    if row.is_import:
        return job._replace(copy=copy_of(row))
    parent = session.get(Backup, row.parent_id) if row.parent_id else None
    return job._replace(
        snapshot_id=row.snapshot_id,
        is_live=volume is not None and volume.previous_status == "in-use" and not row.snapshot_id,
        parent_id=row.parent_id,
        parent_snapshot_id=parent.snapshot_id if parent else None,
    )
