"""Does what groups ask of backends: snapshots of all volumes, volumes from them, deletions.

The rows say what is to be done, and by which host. A round does it, with verbs that may be done again,
and ends each row by a conditional update; so a process that was killed goes on where it was. Rounds
come when a request of this process asks, and every few seconds for those of others.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.objects.errors import StoreAway
from compute.site import Site
from compute.volume.call import ROOM
from compute.volume.drivers.contract import Driver
from compute.volume.groups import IDLE, are_under_way, settle
from compute.volume.messages import add_message
from compute.volume.models.groups import GroupSnapshot, VolumeGroup
from compute.volume.models.volumes import Snapshot, Volume
from compute.volume.pools import GIB

ROUND_S: Final = 5.0
AGAIN: Final = (StoreAway, ConnectionError, TimeoutError)
"""What passes by itself: the row stays as it is, and the next round tries again."""
SAID: Final[Mapping[tuple[type, str], tuple[str, str, str]]] = {
    (Volume, "creating"): ("VOLUME", "008", "012"),
    (Volume, "deleting"): ("VOLUME", "008", "001"),
    (Snapshot, "creating"): ("VOLUME_SNAPSHOT", "009", "013"),
    (Snapshot, "deleting"): ("VOLUME_SNAPSHOT", "010", "016"),
}
"""Of a row that came to nothing: resource, action and reason of the message to its users."""

log = logging.getLogger("atoll.cloud.volume")


class Step(NamedTuple):
    """One thing to do. model: of the row `ident`. source_id: what a new volume is made from."""

    model: type[Volume] | type[Snapshot]
    ident: str
    status: str
    backend: str
    volume_id: str
    size_bytes: int
    snapshot_id: str | None = None
    source_id: str | None = None


class GroupWork:
    """The rounds of one process."""

    def __init__(self, site: Site, drivers: Mapping[str, Driver]) -> None:
        self._site = site
        self._drivers = drivers
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """There is something to do now. Called on the event loop."""
        self._asked.set()

    async def run(self) -> None:
        """Rounds until cancelled; an error ends nothing."""
        while True:
            try:
                async with asyncio.timeout(ROUND_S):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            try:
                await self.round()
            except Exception as error:
                log.warning("groups could not be worked on: %s", error)

    async def round(self) -> None:
        """Do all that this host is to do, then settle groups."""
        steps = await self._site.database.run(self._steps)
        await asyncio.gather(*(self._do(step) for step in steps))
        await self._site.database.run(self._settle)

    def _steps(self) -> list[Step]:
        with self._site.database.read() as session:
            found = steps_of(session, self._site.host)
        return [step for step in found if step.backend in self._drivers]

    def _settle(self) -> None:
        with self._site.database.read() as session:
            if not are_under_way(session):
                return
        with self._site.database.write(ROOM, changes=False) as session:
            settle(session)

    async def _do(self, step: Step) -> None:
        try:
            await self._driven(self._drivers[step.backend], step)
        except AGAIN as error:
            log.warning("%s of a group waits: %s", step.ident, error)
        except Exception as error:
            log.warning("%s of a group failed: %s", step.ident, error)
            await self._site.database.run(lambda: self._end(step, failed=True))
        else:
            await self._site.database.run(lambda: self._end(step, failed=False))

    async def _driven(self, driver: Driver, step: Step) -> None:
        if step.model is Snapshot and step.status == "creating":
            await driver.snapshot(step.ident, step.volume_id)
        elif step.model is Snapshot:
            await driver.delete_snapshot(step.ident, step.volume_id)
        elif step.status == "deleting":
            await driver.delete(step.ident)
        elif step.snapshot_id is not None:
            await driver.create_from_snapshot(step.ident, step.snapshot_id, step.size_bytes)
        else:
            assert step.source_id is not None
            await driver.clone(step.ident, step.source_id, step.size_bytes)

    def _end(self, step: Step, *, failed: bool) -> None:
        """The row's new status, unless someone else has changed it meanwhile."""
        now = self._site.now_us()
        with self._site.database.write(ROOM, changes=False) as session:
            row: Any = session.get(step.model, step.ident)
            if row is None or row.status != step.status:
                return
            if failed:
                row.status = "error" if step.status == "creating" else "error_deleting"
                what, action, detail = SAID[step.model, step.status]
                add_message(session, self._site, row.project_id, what, row.id, action, detail)
            elif step.status == "deleting":
                session.delete(row)
            else:
                row.status, row.updated_us = "available", now
                if step.model is Volume:
                    row.launched_us = now
                else:
                    row.progress = "100%"


def steps_of(session: Session, host: str) -> list[Step]:
    """What a host is to do for groups that are under way."""
    return [*_of_snapshots(session, host), *_of_volumes(session, host)]


def _of_snapshots(session: Session, host: str) -> Sequence[Step]:
    query = (
        select(Snapshot, Volume)
        .join(Volume, Volume.id == Snapshot.volume_id)
        .join(GroupSnapshot, GroupSnapshot.id == Snapshot.group_snapshot_id)
        .where(Volume.host == host, Snapshot.status.in_(("creating", "deleting")))
        .where(GroupSnapshot.host != IDLE)
    )
    return [
        Step(Snapshot, row.id, row.status, str(volume.backend), volume.id, row.size_gib * GIB)
        for row, volume in session.execute(query)
    ]


def _of_volumes(session: Session, host: str) -> Sequence[Step]:
    """New volumes of groups that have a source; those of other new groups are users' own."""
    query = (
        select(Volume)
        .join(VolumeGroup, VolumeGroup.id == Volume.group_id)
        .where(Volume.host == host, Volume.status.in_(("creating", "deleting")))
        .where(VolumeGroup.host != IDLE)
    )
    return [
        Step(
            *(Volume, row.id, row.status, str(row.backend), row.id, row.size_gib * GIB),
            snapshot_id=row.snapshot_id,
            source_id=row.source_volume_id,
        )
        for row in session.scalars(query)
        if row.status == "deleting" or row.snapshot_id or row.source_volume_id
    ]
