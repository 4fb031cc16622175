"""What a host exports for attachments.

As with all work here the rows say it: `wanted` is to be exported, `there` is, `unwanted` is to end, and
`failed` could not be. The volume's host does it, at once where the request came to that same process
and in its next round otherwise. An export lives in a process, so after a start the rows which are
`there` are exported again, under their old names: clients that connect again go on.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from sqlalchemy import select

from compute.database.engine import DatabaseAway
from compute.objects.errors import StoreAway
from compute.server.errors import Unavailable
from compute.site import Site
from compute.volume.attachments import (
    FAILED,
    NOT_EXPORTED,
    THERE,
    UNWANTED,
    WANTED,
    is_read_only,
    settle,
)
from compute.volume.call import ROOM
from compute.volume.drivers.contract import Connection, Driver
from compute.volume.models.attachments import Attachment
from compute.volume.models.volumes import Volume

ROUND_S: Final = 2.0
LOOK_EVERY_S: Final = 0.2
OTHER_HOST_WITHIN_S: Final = 30.0
"""How long a request waits for the host of a volume, where that is another one."""
AGAIN: Final = (StoreAway, DatabaseAway, ConnectionError, TimeoutError)

log = logging.getLogger("atoll.cloud.volume")


class ExportFailed(Exception):
    """The driver could not export a volume."""


class Export(NamedTuple):
    """One attachment, and what is to be done with it."""

    attachment_id: str
    volume_id: str
    host: str
    backend: str
    wish: str
    read_only: bool


class Exports:
    """Those of one process. drivers: by the names of backends."""

    def __init__(self, site: Site, drivers: Mapping[str, Driver]) -> None:
        self._site = site
        self._drivers = drivers
        self._mine: set[str] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self) -> None:
        """Rounds until cancelled; an error ends nothing."""
        while True:
            try:
                await self.round()
            except Exception as error:
                log.warning("exports could not be looked after: %s", error)
            await asyncio.sleep(ROUND_S)

    async def round(self) -> None:
        """Do what this host is to do."""
        for export in await self._site.database.run(self._wishes):
            try:
                await self._do(export.attachment_id)
            except AGAIN as error:
                log.warning("attachment %s waits: %s", export.attachment_id, error)

    async def bring(self, attachment_id: str) -> None:
        """Return when a wanted export is there.

        Raises ExportFailed, StoreAway, Unavailable where the volume's host doesn't answer.
        """
        if await self._is_here(attachment_id):
            await self._do(attachment_id)
        await self._until(attachment_id, lambda export: export is None or export.wish != WANTED)
        export = await self._look(attachment_id)
        if export is None or export.wish != THERE:
            raise ExportFailed(f"attachment {attachment_id} could not be exported")

    async def end(self, attachment_id: str) -> None:
        """Return when an unwanted export has ended; its row has gone then."""
        if await self._is_here(attachment_id):
            await self._do(attachment_id)
        await self._until(attachment_id, lambda export: export is None or export.wish != UNWANTED)

    async def _is_here(self, attachment_id: str) -> bool:
        export = await self._look(attachment_id)
        return export is not None and export.host == self._site.host

    async def _until(self, attachment_id: str, done: Callable[[Export | None], bool]) -> None:
        ends = self._site.clock.monotonic() + OTHER_HOST_WITHIN_S
        while not done(await self._look(attachment_id)):
            if self._site.clock.monotonic() > ends:
                raise Unavailable("The host of the volume does not answer.")
            await asyncio.sleep(LOOK_EVERY_S)

    # -- what is to be done --

    def _wishes(self) -> list[Export]:
        with self._site.database.read() as session:
            query = select(Attachment, Volume).join(Volume, Volume.id == Attachment.volume_id)
            query = query.where(
                Volume.host == self._site.host, Attachment.export.in_((WANTED, THERE, UNWANTED))
            )
            found = [_export(row, volume) for row, volume in session.execute(query)]
        return [one for one in found if one.wish != THERE or one.attachment_id not in self._mine]

    async def _look(self, attachment_id: str) -> Export | None:
        def look() -> Export | None:
            with self._site.database.read() as session:
                row = session.get(Attachment, attachment_id)
                return None if row is None else _export(row, session.get_one(Volume, row.volume_id))

        return await self._site.database.run(look)

    async def _do(self, attachment_id: str) -> None:
        """One export, as its row says now; only one at a time touches it."""
        lock = self._locks.setdefault(attachment_id, asyncio.Lock())
        async with lock:
            export = await self._look(attachment_id)
            driver = self._drivers.get(export.backend) if export is not None else None
            if export is None or driver is None:
                return
            if export.wish == UNWANTED:
                await driver.detach(export.volume_id, attachment_id)
                self._mine.discard(attachment_id)
                await self._site.database.run(lambda: self._gone(attachment_id))
            elif export.wish in (WANTED, THERE):
                await self._open(export, driver)

    async def _open(self, export: Export, driver: Driver) -> None:
        try:
            connection = await driver.attach(
                export.volume_id, export.attachment_id, read_only=export.read_only
            )
        except AGAIN:
            raise
        except Exception as error:
            log.warning("attachment %s could not be exported: %s", export.attachment_id, error)
            await self._site.database.run(lambda: self._failed(export.attachment_id))
            return
        try:
            stands = await self._site.database.run(lambda: self._opened(export, connection))
        except BaseException:  # the row may be taken back now, so nothing may stand on it
            await asyncio.shield(driver.detach(export.volume_id, export.attachment_id))
            raise
        if stands:
            self._mine.add(export.attachment_id)
        else:  # taken back meanwhile
            await driver.detach(export.volume_id, export.attachment_id)

    # -- the rows afterwards --

    def _opened(self, export: Export, connection: Connection) -> bool:
        with self._site.database.write(ROOM, changes=False) as session:
            row = session.get(Attachment, export.attachment_id)
            if row is None or row.export not in (WANTED, THERE, UNWANTED):
                return False
            row.export = THERE if row.export == WANTED else row.export
            mode = "ro" if export.read_only else "rw"
            data = {**connection.data, "access_mode": mode, "encrypted": False, "qos_specs": None}
            row.connection = {"driver_volume_type": connection.driver_volume_type, **data}
            return True

    def _failed(self, attachment_id: str) -> None:
        with self._site.database.write(ROOM, changes=False) as session:
            row = session.get(Attachment, attachment_id)
            if row is not None and row.export in (WANTED, THERE):
                row.export, row.status = FAILED, "error_attaching"
                settle(session, session.get_one(Volume, row.volume_id))

    def _gone(self, attachment_id: str) -> None:
        with self._site.database.write(ROOM, changes=False) as session:
            row = session.get(Attachment, attachment_id)
            if row is not None and row.export == UNWANTED:
                volume = session.get_one(Volume, row.volume_id)
                session.delete(row)
                settle(session, volume)

    def take_back(self, attachment_id: str, *, keep_row: bool) -> None:
        """A request that brought nothing leaves nothing. keep_row: as reserved, for another try.

        Runs on a database thread.
        """
        with self._site.database.write(ROOM, changes=False) as session:
            row = session.get(Attachment, attachment_id)
            if row is None or row.export not in (WANTED, FAILED):
                return
            volume = session.get_one(Volume, row.volume_id)
            if keep_row:
                row.export, row.status, row.connector = NOT_EXPORTED, "reserved", None
            else:
                session.delete(row)
            settle(session, volume)


def _export(row: Attachment, volume: Volume) -> Export:
    read_only = is_read_only(volume, row.mode)
    place = (str(volume.host), str(volume.backend))
    return Export(row.id, row.volume_id, *place, row.export, read_only)
