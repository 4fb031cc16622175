"""What projects may use and what they do use.

Use is counted from the rows themselves within the transaction that adds to it. A writing transaction is
alone in its room, so two requests can't both take what is left, and no counter can drift from what is
there: upstream's `reserved` is therefore always 0. Of each volume type, three more resources are
limited (`volumes_<type>`, `gigabytes_<type>`, `snapshots_<type>`).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from compute.server.errors import TooLarge
from compute.volume.models.backups import Backup
from compute.volume.models.groups import VolumeGroup
from compute.volume.models.quotas import Quota, QuotaClass
from compute.volume.models.types import VolumeType
from compute.volume.models.volumes import Snapshot, Volume

UNLIMITED: Final = -1
LIMIT_MAX: Final = 2**31 - 1
DEFAULT_CLASS: Final = "default"
PER_VOLUME: Final = "per_volume_gigabytes"
TYPED: Final = ("volumes", "gigabytes", "snapshots")
DEFAULTS: Final[Mapping[str, int]] = {
    "volumes": 10,
    PER_VOLUME: UNLIMITED,
    "snapshots": 10,
    "gigabytes": 1000,
    "backups": 10,
    "backup_gigabytes": 1000,
    "groups": 10,
}
"""Upstream's."""


class Use(NamedTuple):
    """A resource of a project."""

    limit: int
    in_use: int

    def shown(self) -> dict[str, int]:
        """As the API writes it."""
        return {"limit": self.limit, "in_use": self.in_use, "reserved": 0}


class OverLimit(TooLarge):
    """A request would use more than the project may. 413, as upstream has it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, {"Retry-After": "0"})


# -- limits --


def typed_names(type_name: str) -> list[str]:
    """The resources of a volume type."""
    return [f"{resource}_{type_name}" for resource in TYPED]


def resources(session: Session) -> dict[str, int]:
    """All resources with the limits that apply where none is set."""
    names = session.scalars(select(VolumeType.name).order_by(VolumeType.name)).all()
    return {**DEFAULTS, **{name: UNLIMITED for kind in names for name in typed_names(kind)}}


def class_limits(session: Session, class_name: str) -> dict[str, int]:
    """A class's limits; what it says nothing of is as in the default class."""
    limits = resources(session)
    for name in dict.fromkeys((DEFAULT_CLASS, class_name)):
        rows = session.scalars(select(QuotaClass).where(QuotaClass.class_name == name))
        limits.update({row.resource: row.limit for row in rows if row.resource in limits})
    return limits


def limits_of(session: Session, project_id: str) -> dict[str, int]:
    """A project's limits."""
    limits = class_limits(session, DEFAULT_CLASS)
    rows = session.scalars(select(Quota).where(Quota.project_id == project_id))
    limits.update({row.resource: row.limit for row in rows if row.resource in limits})
    return limits


def rename_type(session: Session, old: str, new: str) -> None:
    """Let the limits of a type follow its name."""
    renamed = dict(zip(typed_names(old), typed_names(new), strict=True))
    for before, after in renamed.items():
        session.execute(update(Quota).where(Quota.resource == before).values(resource=after))
        session.execute(update(QuotaClass).where(QuotaClass.resource == before).values(resource=after))


def forget_type(session: Session, name: str) -> None:
    """Remove the limits of a type that is no more."""
    names = typed_names(name)
    session.execute(delete(Quota).where(Quota.resource.in_(names)))
    session.execute(delete(QuotaClass).where(QuotaClass.resource.in_(names)))


# -- use --

Counted = Callable[[Session, str], Mapping[str, int]]
"""Counts resources of a project."""


def _typed(rows: Iterable[Any], names: Mapping[str, str], *kinds: str) -> dict[str, int]:
    """Sums over rows of (type id, a sum for each kind), whole and per type."""
    found = dict.fromkeys(kinds, 0)
    for type_id, *sums in rows:
        for kind, amount in zip(kinds, sums, strict=True):
            found[kind] += int(amount or 0)
            if type_id in names:
                found[f"{kind}_{names[type_id]}"] = int(amount or 0)
    return found


def _volumes_query(project_id: str) -> Select[Any, Any, Any]:
    return (
        select(Volume.volume_type_id, func.count(), func.sum(Volume.size_gib))
        .where(Volume.project_id == project_id, Volume.consumes_quota)
        .group_by(Volume.volume_type_id)
    )


def _snapshots_query(project_id: str) -> Select[Any, Any, Any]:
    return (
        select(Snapshot.volume_type_id, func.count(), func.sum(Snapshot.size_gib))
        .where(Snapshot.project_id == project_id, Snapshot.consumes_quota)
        .group_by(Snapshot.volume_type_id)
    )


def _volumes_and_snapshots(session: Session, project_id: str) -> Mapping[str, int]:
    kinds = session.execute(select(VolumeType.id, VolumeType.name))
    names = {row.id: row.name for row in kinds}
    found = _typed(session.execute(_volumes_query(project_id)), names, "volumes", "gigabytes")
    snapshots = _typed(session.execute(_snapshots_query(project_id)), names, "snapshots", "gigabytes")
    for resource, amount in snapshots.items():
        found[resource] = found.get(resource, 0) + amount
    return found


def _groups(session: Session, project_id: str) -> Mapping[str, int]:
    query = select(func.count()).where(VolumeGroup.project_id == project_id)
    return {"groups": int(session.scalar(query) or 0)}


def _backups(session: Session, project_id: str) -> Mapping[str, int]:
    query = select(func.count(), func.sum(Backup.size_gib)).where(Backup.project_id == project_id)
    number, gib = session.execute(query).one()
    return {"backups": int(number), "backup_gigabytes": int(gib or 0)}


COUNTED: Final[list[Counted]] = [_volumes_and_snapshots, _groups, _backups]


def use_of(session: Session, project_id: str) -> dict[str, Use]:
    """A project's resources: what it may use and what it does."""
    used: dict[str, int] = {}
    for count in COUNTED:
        used |= count(session, project_id)
    limits = limits_of(session, project_id)
    return {name: Use(limit, used.get(name, 0)) for name, limit in limits.items()}


# -- using more --


def reserve(
    session: Session, project_id: str, deltas: Mapping[str, int], type_id: str | None = None
) -> None:
    """Check, before the rows are added in the same transaction, that a project may use so much more.

    type_id: of the volumes, or of the snapshots' volumes. `per_volume_gigabytes` in deltas is the size
    that a volume is to have. Raises OverLimit.
    """
    name = session.scalar(select(VolumeType.name).where(VolumeType.id == type_id)) if type_id else None
    wanted = dict(deltas)
    if name is not None:
        wanted |= {f"{kind}_{name}": deltas[kind] for kind in TYPED if kind in deltas}
    check(use_of(session, project_id), wanted)


def check(uses: Mapping[str, Use], deltas: Mapping[str, int]) -> None:
    """Raises OverLimit in upstream's words, for the first resource in alphabetical order."""
    size = deltas.get(PER_VOLUME, 0)
    bound = uses[PER_VOLUME].limit
    if bound >= 0 and size > bound:
        raise OverLimit(f"Requested volume size {size}G is larger than maximum allowed limit {bound}G.")
    for name in sorted(set(deltas) - {PER_VOLUME}):
        use, delta = uses[name], deltas[name]
        if use.limit >= 0 and delta >= 0 and use.in_use + delta > use.limit:
            raise OverLimit(_said(name, use, delta))


def _said(name: str, use: Use, delta: int) -> str:
    if "gigabytes" in name:
        room = f"Requested {delta}G, quota is {use.limit}G and {use.in_use}G has been consumed."
        if name == "backup_gigabytes":
            return f"Requested backup exceeds allowed Backup gigabytes quota. {room}"
        return f"Requested volume or snapshot exceeds allowed {name} quota. {room}"
    kind = name.partition("_")[0]
    said = f"Maximum number of {kind} allowed ({use.limit}) exceeded"
    return f"{said} for quota '{name}'." if kind == "volumes" else said
