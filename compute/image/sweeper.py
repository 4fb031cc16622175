"""Deletes objects that no image names, of deleted images and of uploads that broke off; and old tasks.

A row in `image_effort` without a host says what may go. It goes only when its objects are gone, so any
process of any host may do it, and again after a crash.
"""

import asyncio
import contextlib
import functools
import logging
from typing import Final

from sqlalchemy import delete, select, update

from compute.database.engine import DatabaseAway
from compute.image.models import Effort, Hold, Image, Task
from compute.objects.errors import NoSuchObject, StoreAway, StoreRefused
from compute.site import Site

PERIOD_S: Final = 60.0
BATCH: Final = 32
ROOM: Final = "image"

log = logging.getLogger("atoll.cloud.image")


class Sweeper:
    """One per process."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """There is something to delete. From any thread."""
        self._loop.call_soon_threadsafe(self._wanted.set)

    async def run(self) -> None:
        """Until cancelled: at once when woken, now and then else."""
        while True:
            try:
                await self.sweep()
            except (DatabaseAway, StoreAway, StoreRefused) as error:
                log.warning("bytes that nobody needs are still there: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), PERIOD_S)
            self._wanted.clear()

    async def sweep(self) -> None:
        """Delete all that is due. Raises StoreAway, StoreRefused, DatabaseAway."""
        await self._site.database.run(self._forget_tasks)
        while due := await self._site.database.run(self._due):
            for ident, container, prefix in due:
                await self._empty(container, prefix)
                await self._site.database.run(functools.partial(self._done, ident))

    def _due(self) -> list[tuple[str, str, str]]:
        with self._site.database.read() as session:
            held = select(Hold.image_id)
            query = (
                select(Effort.id, Effort.container, Effort.prefix)
                .where(Effort.host.is_(None), Effort.due_us <= self._site.now_us())
                .where(Effort.image_id.not_in(held))
                .limit(BATCH)
            )
            return [(row[0], row[1], row[2]) for row in session.execute(query)]

    def _forget_tasks(self) -> None:
        """Those that have expired."""
        expired = Task.expires_us <= self._site.now_us()
        with self._site.database.read() as session:
            if session.scalar(select(Task.id).where(expired).limit(1)) is None:
                return
        with self._site.database.write(ROOM, changes=False) as session:
            session.execute(delete(Task).where(expired))

    async def _empty(self, container: str, prefix: str) -> None:
        while listed := await self._site.objects.listing(container, prefix):
            for each in listed:
                with contextlib.suppress(NoSuchObject):
                    await self._site.objects.delete(container, each.name)

    def _done(self, ident: str) -> None:
        with self._site.database.write(ROOM, changes=False) as session:
            session.execute(delete(Effort).where(Effort.id == ident))

    def give_up(self) -> None:
        """What this host was doing when it stopped has failed: called before it serves, on a thread."""
        host = self._site.host
        with self._site.database.write(ROOM, changes=False) as session:
            broken = select(Effort.image_id).where(Effort.host == host)
            session.execute(
                update(Image)
                .where(Image.id.in_(broken), Image.status.in_(("saving", "uploading")))
                .values(status="queued", updated_us=self._site.now_us())
            )
            session.execute(update(Effort).where(Effort.host == host).values(host=None, due_us=0))
