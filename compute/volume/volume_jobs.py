"""What is to be done with volumes and snapshots, read from their rows, and what becomes of the rows."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from compute.site import Site
from compute.volume.groups import IDLE
from compute.volume.messages import add_message
from compute.volume.models.groups import GroupSnapshot, VolumeGroup
from compute.volume.models.volumes import Snapshot, Volume
from compute.volume.pools import GIB
from compute.volume.volumes import snapshots_of

MIGRATING: Final = "migrating"
NOT_OURS: Final = "not_ours"
"""In the task of a volume that is deleted: it could not be taken over, so its bytes stay."""
OF_VOLUMES: Final = (
    *("creating", "deleting", "extending", "uploading", "retyping", "reverting", "downloading"),
    "managing",
)
OF_SNAPSHOTS: Final = ("creating", "deleting", "managing")
SAID: Final[Mapping[str, tuple[str, str]]] = {
    "creating": ("008", "012"),
    "deleting": ("008", "001"),
    "extending": ("007", "010"),
    "uploading": ("003", "004"),
    "retyping": ("001", "003"),
    "reverting": ("008", "001"),
    "downloading": ("016", "028"),
    "managing": ("008", "001"),
    MIGRATING: ("001", "003"),
}
"""Action and reason of the message to a volume's users where it came to nothing."""
SAID_OF_SNAPSHOTS: Final = {
    "creating": ("009", "013"),
    "deleting": ("010", "016"),
    "managing": ("009", "001"),
}


class Job(NamedTuple):
    """One thing to do. status: the row's, which says what; `migrating` is a migration status."""

    is_snapshot: bool
    ident: str
    status: str
    backend: str
    volume_id: str
    size_bytes: int
    snapshot_id: str | None = None
    source_id: str | None = None
    snapshots: tuple[str, ...] = ()
    task: Mapping[str, Any] = {}

    @property
    def owner(self) -> str:
        """What it is about."""
        return f"{'snapshot' if self.is_snapshot else 'volume'} {self.ident}"

    @property
    def is_moving(self) -> bool:
        """Whether there may be a copy at another backend that is not the volume itself yet."""
        elsewhere = self.task.get("backend", self.backend) != self.backend
        return elsewhere and self.status in ("retyping", MIGRATING)

    @property
    def name(self) -> str:
        """As logs have it."""
        return f"{self.owner} {self.status}"


def jobs_of(session: Session, host: str) -> list[Job]:
    """What a host is to do. What groups do with their members is `group_work`'s."""
    return [*_volume_jobs(session, host), *_snapshot_jobs(session, host)]


def _volume_jobs(session: Session, host: str) -> list[Job]:
    busy = select(VolumeGroup.id).where(VolumeGroup.host != IDLE)
    copied = or_(Volume.snapshot_id.is_not(None), Volume.source_volume_id.is_not(None))
    groups_own = and_(Volume.group_id.in_(busy), or_(Volume.status == "deleting", copied))
    query = select(Volume).where(
        Volume.host == host,
        ~Volume.status_by_hand,
        or_(Volume.status.in_(OF_VOLUMES), Volume.migration_status == MIGRATING),
        or_(Volume.group_id.is_(None), ~groups_own),
    )
    return [_volume_job(session, row) for row in session.scalars(query)]


def _volume_job(session: Session, row: Volume) -> Job:
    status = row.status if row.status in OF_VOLUMES else MIGRATING
    going = tuple(one.id for one in snapshots_of(session, row.id)) if status == "deleting" else ()
    return Job(
        *(False, row.id, status, str(row.backend), row.id, row.size_gib * GIB),
        snapshot_id=row.snapshot_id,
        source_id=row.source_volume_id,
        snapshots=going,
        task=row.task or {},
    )


def _snapshot_jobs(session: Session, host: str) -> list[Job]:
    busy = select(GroupSnapshot.id).where(GroupSnapshot.host != IDLE)
    query = (
        select(Snapshot, Volume)
        .join(Volume, Volume.id == Snapshot.volume_id)
        .where(
            Volume.host == host,
            Volume.status != "deleting",
            Snapshot.status.in_(OF_SNAPSHOTS),
            ~Snapshot.status_by_hand,
            or_(Snapshot.group_snapshot_id.is_(None), Snapshot.group_snapshot_id.not_in(busy)),
        )
    )
    return [
        Job(True, row.id, row.status, str(volume.backend), volume.id, row.size_gib * GIB)
        for row, volume in session.execute(query)
    ]


# -- the rows afterwards; unless someone else has changed them meanwhile --


def finish(session: Session, site: Site, job: Job) -> None:
    """It is done."""
    if job.is_snapshot:
        _finish_snapshot(session, site, job)
        return
    row = session.get(Volume, job.ident)
    if row is None or not _stands(row, job):
        return
    if job.status == "deleting":
        for snapshot in snapshots_of(session, row.id):
            session.delete(snapshot)
        session.flush()
        session.delete(row)
        return
    row.updated_us = site.now_us()
    if job.status == MIGRATING:
        row.migration_status = "success"
        row.status = _before(row) if row.status == "maintenance" else row.status
    elif job.status in ("creating", "managing"):
        row.status, row.launched_us = "available", row.updated_us
    else:
        row.status = _before(row)
    if job.status == "retyping":
        row.volume_type_id = job.task["type_id"]
        row.migration_status = "success" if "backend" in job.task else row.migration_status
    if job.status == "downloading":
        row.image_meta = dict(job.task["image_meta"])
    if job.status == "reverting":
        _free(session, job)
    row.task = None


def fail(session: Session, site: Site, job: Job) -> None:
    """It came to nothing."""
    if job.is_snapshot:
        _fail_snapshot(session, site, job)
        return
    row = session.get(Volume, job.ident)
    if row is None or not _stands(row, job):
        return
    ends = {
        "creating": "error",
        "deleting": "error_deleting",
        "extending": "error_extending",
        "reverting": "error",
        "downloading": "error",
        "managing": "error_managing",
    }
    if job.status == MIGRATING:
        row.migration_status = "error"
        row.status = _before(row) if row.status == "maintenance" else row.status
    else:
        row.status = ends.get(job.status) or _before(row)
    if job.status == "managing":
        row.size_gib = 0
    if job.status == "extending":
        row.size_gib = int(job.task["old_size_gib"])
    if job.status == "reverting":
        _free(session, job)
    row.task, row.updated_us = None, site.now_us()
    action, detail = SAID[job.status]
    add_message(session, site, row.project_id, "VOLUME", row.id, action, detail)


def _before(row: Volume) -> str:
    return row.previous_status or "available"


def _stands(row: Volume, job: Job) -> bool:
    return (row.migration_status if job.status == MIGRATING else row.status) == job.status


def _free(session: Session, job: Job) -> None:
    snapshot = session.get(Snapshot, job.task["snapshot_id"])
    if snapshot is not None and snapshot.status == "restoring":
        snapshot.status = "available"


def _finish_snapshot(session: Session, site: Site, job: Job) -> None:
    row = session.get(Snapshot, job.ident)
    if row is None or row.status != job.status:
        return
    if job.status == "deleting":
        session.delete(row)
    else:
        row.status, row.progress, row.updated_us = "available", "100%", site.now_us()


def _fail_snapshot(session: Session, site: Site, job: Job) -> None:
    row = session.get(Snapshot, job.ident)
    if row is None or row.status != job.status:
        return
    ends = {"creating": "error", "deleting": "error_deleting", "managing": "error_managing"}
    row.status = ends[job.status]
    row.updated_us = site.now_us()
    action, detail = SAID_OF_SNAPSHOTS[job.status]
    add_message(session, site, row.project_id, "VOLUME_SNAPSHOT", row.id, action, detail)
