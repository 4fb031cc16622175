"""/v3/volumes: made, shown, changed, deleted."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy.orm import Session

from compute.server.errors import Absent, BadRequest, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume import images
from compute.volume.api import forms
from compute.volume.api.backups import backup_of
from compute.volume.api.volume_view import GROUP_SINCE, detail, extended
from compute.volume.backup_work import BackupWork
from compute.volume.backups import begin_restore, copy_of, invalid_backup
from compute.volume.call import Call
from compute.volume.groups import no_such_group, types_of
from compute.volume.heartbeat import ZONE
from compute.volume.instants import written
from compute.volume.kinds import default_type, kind_of, type_for
from compute.volume.matching import is_true
from compute.volume.messages import add_message
from compute.volume.models.backups import Backup
from compute.volume.models.groups import VolumeGroup
from compute.volume.models.types import VolumeType
from compute.volume.models.volumes import Snapshot, Volume
from compute.volume.pools import GIB, check_not_frozen, fitting, pools
from compute.volume.quotas import PER_VOLUME, reserve
from compute.volume.volume_jobs import NOT_OURS
from compute.volume.volume_work import VolumeWork
from compute.volume.volumes import (
    check_deletable,
    invalid_input,
    invalid_snapshot,
    invalid_volume,
    snapshot_of,
    volume_of,
)

FORCE_SINCE: Final = 23
BACKUP_SINCE: Final = 47
STRICT_SINCE: Final = 53
SIZE_MAX_GIB: Final = 2**31 - 1

_METADATA: Final = {**forms.specs(r"^[\s\S]{1,255}$", "string"), "type": ["object", "null"]}
_UUID_OR_NULL: Final = {"oneOf": [forms.UUID, {"type": "null"}]}
_FIELDS: Final[dict[str, Any]] = {
    "name": forms.NAME_OR_NULL,
    "description": forms.DESCRIPTION,
    "display_name": forms.NAME_OR_NULL,
    "display_description": forms.DESCRIPTION,
    "metadata": _METADATA,
}
_CREATE_FIELDS: Final[dict[str, Any]] = {
    **_FIELDS,
    "volume_type": forms.NAME_OR_NULL,
    "snapshot_id": _UUID_OR_NULL,
    "source_volid": _UUID_OR_NULL,
    "consistencygroup_id": _UUID_OR_NULL,
    "size": {
        "type": ["integer", "string", "null"],
        "pattern": "^[0-9]+$",
        "minimum": 1,
        "maximum": SIZE_MAX_GIB,
    },
    "availability_zone": forms.NAME_OR_NULL,
    "multiattach": {"oneOf": [forms.TRUTH, {"type": "null"}]},
    "image_id": {"type": ["string", "null"], "maxLength": 255},
    "imageRef": {"type": ["string", "null"], "maxLength": 255},
    "group_id": {"type": ["string", "null"], "maxLength": 255},
    "backup_id": _UUID_OR_NULL,
}


def _create_schema(*, more: bool) -> Schema:
    inner = forms.within("volume", _CREATE_FIELDS, more=more)
    inner["properties"]["OS-SCH-HNT:scheduler_hints"] = {"type": ["object", "null"]}
    return Schema(inner)


_CREATE, _CREATE_STRICT = _create_schema(more=True), _create_schema(more=False)
_UPDATE = Schema(forms.within("volume", _FIELDS))
_UPDATE_STRICT = Schema(forms.within("volume", _FIELDS, minProperties=1))


class Source(NamedTuple):
    """What a volume is made of, at most one of them. least_gib: what it needs."""

    snapshot: Snapshot | None = None
    volume: Volume | None = None
    image: Any = None
    backup: Backup | None = None
    least_gib: int = 0

    @property
    def place(self) -> Volume | None:
        """The volume beside which it must be."""
        return self.volume


def named(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Name and description, under either name, without space around them."""
    found = {}
    for name in ("name", "description"):
        for key in (f"display_{name}", name):
            if key in fields:
                value = fields[key]
                found[name] = value.strip() if isinstance(value, str) else value
    return found


# -- making one --


async def _image(call: Call, work: VolumeWork, fields: Mapping[str, Any]) -> Any:
    """The image that is asked for. Raises BadRequest."""
    asked = fields.get("imageRef") or fields.get("image_id")
    if not asked:
        return None
    call.enforce("volume:create_from_image")
    try:
        image = await work.library.show(call.context, str(asked).rsplit("/", 1)[-1])
    except NotFound:
        raise BadRequest("Invalid image identifier or unable to access requested image.") from None
    if image.status != "active":
        raise BadRequest(f"Invalid input received: Image {image.id} is not active.")
    if image.disk_format is None or image.size_bytes is None:
        raise BadRequest(f"Image {image.id} is unacceptable: it holds no disk.")
    return image


def _check_image_size(image: Any, size_gib: int) -> None:
    needed = -(-max(image.virtual_size_bytes or 0, image.size_bytes or 0) // GIB)
    if image.virtual_size_bytes:
        needed = -(-image.virtual_size_bytes // GIB)
    if needed > size_gib:
        raise invalid_input(
            f"Size of specified image {needed}GB is larger than volume size {size_gib}GB."
        )
    if image.min_disk_gib > size_gib:
        raise invalid_input(
            f"Volume size {size_gib}GB cannot be smaller than the image minDisk size"
            f" {image.min_disk_gib}GB."
        )


def _source(call: Call, session: Session, fields: Mapping[str, Any], image: Any) -> Source:
    if fields.get("snapshot_id"):
        snapshot = snapshot_of(call, session, "volume:get_snapshot", fields["snapshot_id"])
        if snapshot.status not in ("available", "backing-up"):
            raise invalid_snapshot("Originating snapshot status must be one of 'available' values")
        volume = session.get_one(Volume, snapshot.volume_id)
        return Source(snapshot, volume, least_gib=snapshot.size_gib)
    if fields.get("source_volid"):
        volume = volume_of(call, session, "volume:get", fields["source_volid"])
        if volume.status not in ("available", "in-use"):
            raise invalid_volume(
                "Originating source_volume status must be one of 'available, in-use' values"
            )
        return Source(None, volume, least_gib=volume.size_gib)
    if fields.get("backup_id") and call.minor >= BACKUP_SINCE:
        backup = backup_of(call, session, "backup:get", fields["backup_id"])
        call.enforce("backup:restore", project_id=backup.project_id)
        if backup.status != "available":
            raise invalid_backup("Originating backup status must be one of 'available' values")
        copy_of(backup)
        return Source(backup=backup, least_gib=backup.size_gib)
    return Source(image=image)


def _size(fields: Mapping[str, Any], source: Source) -> int:
    """In GiB. Raises BadRequest."""
    size = int(fields.get("size") or source.least_gib)
    if size <= 0:
        raise invalid_input(f"Volume size '{fields.get('size')}' must be an integer and greater than 0")
    if source.snapshot is not None and size < source.least_gib:
        raise invalid_input(
            f"Volume size '{size}'GB cannot be smaller than the snapshot size"
            f" {source.least_gib}GB. They must be >= original snapshot size."
        )
    if source.backup is not None and size < source.least_gib:
        raise invalid_input(
            f"Volume size {size}GB cannot be smaller than the backup size"
            f" {source.least_gib}GB. It must be >= backup size."
        )
    if size < source.least_gib:
        raise invalid_input(
            f"Volume size '{size}'GB cannot be smaller than original volume size "
            f" {source.least_gib}GB. They must be >= original volume size."
        )
    if source.image is not None:
        _check_image_size(source.image, size)
    return size


def _check_form(fields: Mapping[str, Any]) -> None:
    if is_true(fields.get("multiattach") or False):
        raise BadRequest(
            "multiattach parameter has been removed. The default behavior is to use"
            " multiattach enabled volume types. Contact your administrator to create a multiattach"
            " enabled volume type and use it to create multiattach volumes."
        )
    given = [
        name
        for name in ("snapshot_id", "source_volid", "imageRef", "image_id", "backup_id")
        if fields.get(name)
    ]
    if len({"image" if name.startswith("image") else name for name in given}) > 1:
        raise BadRequest("May specify only one of snapshot, imageRef or source volume")
    zone = fields.get("availability_zone") or ZONE
    if zone != ZONE:
        raise invalid_input(f"Availability zone '{zone}' is invalid.")
    if fields.get("consistencygroup_id"):
        raise NotFound(f"ConsistencyGroup {fields['consistencygroup_id']} could not be found.")


def _kind(call: Call, session: Session, fields: Mapping[str, Any], source: Source) -> VolumeType:
    asked = fields.get("volume_type")
    if source.image is not None and not asked:
        asked = source.image.properties.get("cinder_img_volume_type")
    if asked:
        return type_for(session, call.context, asked)
    if source.volume is not None and source.volume.volume_type_id:
        return session.get_one(VolumeType, source.volume.volume_type_id)
    if source.backup is not None and (known := source.backup.source.get("volume_type_id")):
        kept = session.get(VolumeType, known)
        if kept is not None:
            return kept
    return default_type(session, call.context.project_id)


def _check_group(call: Call, session: Session, ident: str | None, kind: VolumeType) -> str | None:
    if not ident or call.minor < GROUP_SINCE:
        return None
    group = session.get(VolumeGroup, ident)
    if group is None or group.project_id != call.context.project_id:
        raise no_such_group(ident)
    if kind.id not in types_of(session, group.id):
        raise invalid_input(
            f"Invalid volume_type provided: {kind.id} (requested type must be supported by this group)."
        )
    return group.id


def _placed(call: Call, session: Session, kind: VolumeType, size: int, beside: Volume | None) -> Any:
    """The pool that takes it; None where there is none."""
    found = fitting(pools(session, call.site.now_us()), kind.extra_specs, size)
    if beside is not None:
        here = (beside.host, beside.backend)
        found = [pool for pool in found if (pool.host, pool.backend) == here]
    return found[0] if found else None


def _add(call: Call, fields: Mapping[str, Any], image: Any) -> dict[str, Any]:
    with call.write() as session:
        source = _source(call, session, fields, image)
        if source.volume is not None:
            check_not_frozen(session, source.volume.host, source.volume.backend)
        kind = _kind(call, session, fields, source)
        if kind_of(session, kind).is_encrypted:
            raise Absent("No backend encrypts volumes: choose a type without encryption.")
        group_id = _check_group(call, session, fields.get("group_id"), kind)
        size = _size(fields, source)
        deltas = {"volumes": 1, "gigabytes": size, PER_VOLUME: size}
        reserve(session, str(call.context.project_id), deltas, kind.id)
        row = _new(call, fields, source, kind, size)
        row.group_id = group_id
        pool = _placed(call, session, kind, size, source.place)
        if pool is None:
            row.status = "error"
            args = (row.project_id, "VOLUME", row.id, "001", "003", call.request.request_id)
            add_message(session, call.site, *args)
        else:
            row.host, row.backend = pool.host, pool.backend
        session.add(row)
        session.flush()
        if source.backup is not None and pool is not None:
            row.previous_status = "creating"  # what it is to be where restoring fails tells by it
            begin_restore(source.backup, row, is_new=True)
        return {**detail(call, session, row), "status": "creating"}


def _new(call: Call, fields: Mapping[str, Any], source: Source, kind: VolumeType, size: int) -> Volume:
    said = named(fields)
    image, origin = source.image, source.volume
    kept = source.backup.source if source.backup else {}
    image_meta = images.metadata_of(image) if image else origin.image_meta if origin else None
    return Volume(
        id=call.site.new_uuid(),
        project_id=call.context.project_id,
        user_id=call.context.user_id,
        name=said.get("name"),
        description=said.get("description"),
        size_gib=size,
        status="creating",
        attach_status="detached",
        volume_type_id=kind.id,
        zone=ZONE,
        is_bootable=image is not None
        or bool(origin and origin.is_bootable)
        or bool(kept.get("is_bootable")),
        snapshot_id=source.snapshot.id if source.snapshot else None,
        source_volume_id=origin.id if origin and not source.snapshot else None,
        image_id=image.id if image else None,
        image_meta=dict(image_meta or kept.get("image_meta") or {}),
        meta=dict(fields.get("metadata") or {}),
        task={"image": images.facts_of(image)} if image else None,
        created_us=call.site.now_us(),
    )


class _Makers:
    """Requests after which there is work."""

    def __init__(self, work: VolumeWork, backup_work: BackupWork) -> None:
        self._work = work
        self._backup_work = backup_work

    async def create(self, call: Call) -> Answer:
        """POST /v3/volumes."""
        fields = call.body(_CREATE_STRICT if call.minor >= STRICT_SINCE else _CREATE)["volume"]
        call.enforce("volume:create")
        _check_form(fields)
        image = await _image(call, self._work, fields)
        view = await call.site.database.run(lambda: _add(call, fields, image))
        self._work.ask()
        self._backup_work.ask()
        return json_answer({"volume": view}, 202)

    async def delete(self, call: Call) -> Answer:
        """DELETE of one."""
        cascade = is_true(call.query("cascade") or "")
        force = call.minor >= FORCE_SINCE and is_true(call.query("force") or "")
        await call.site.database.run(lambda: delete(call, force=force, cascade=cascade))
        self._work.ask()
        return Answer(202)


def delete(call: Call, *, force: bool, cascade: bool, rule: str = "volume:delete") -> None:
    """Let a volume be deleted. Raises BadRequest."""
    with call.write() as session:
        row = volume_of(call, session, rule)
        if force and rule == "volume:delete":
            call.enforce("volume:force_delete", project_id=row.project_id)
        snapshots = check_deletable(session, row, force=force, cascade=cascade)
        if not row.host:
            for snapshot in snapshots:
                session.delete(snapshot)
            session.flush()
            session.delete(row)
            return
        check_not_frozen(session, row.host, row.backend)
        if row.status == "error_managing":  # what the backend has was not ours, and is not now
            row.task = {NOT_OURS: True}
        row.previous_status, row.status = row.status, "deleting"
        row.updated_us = call.site.now_us()
        for snapshot in snapshots:
            snapshot.status = "deleting"


# -- one that is there --


def show(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        row = volume_of(call, session, "volume:get")
        return json_answer({"volume": extended(call, session, row)})


def update(call: Call) -> Answer:
    """PUT: name, description, metadata."""
    fields = call.body(_UPDATE_STRICT if call.minor >= STRICT_SINCE else _UPDATE)["volume"]
    with call.write() as session:
        row = volume_of(call, session, "volume:update")
        if row.status == "maintenance":
            raise invalid_volume("The volume cannot be updated during maintenance.")
        for name, value in named(fields).items():
            setattr(row, name, value)
        if fields.get("metadata") is not None:
            row.meta = dict(fields["metadata"])
        row.updated_us = call.site.now_us()
        session.flush()
        view = detail(call, session, row)
    return json_answer({"volume": view})


def show_encryption(call: Call) -> Answer:
    """GET of how it is encrypted: no driver does."""
    with call.read() as session:
        row = volume_of(call, session, "volume:get")
        call.enforce("volume_extension:volume_encryption_metadata", project_id=row.project_id)
        return json_answer({"encryption_key_id": None, "created_at": written(row.created_us)})


def routes(work: VolumeWork, backup_work: BackupWork) -> list[tuple[Any, ...]]:
    """What answers them."""
    makers = _Makers(work, backup_work)
    return [
        ("POST", "/v3/volumes", makers.create),
        ("GET", "/v3/volumes/{volume_id}", show),
        ("PUT", "/v3/volumes/{volume_id}", update),
        ("DELETE", "/v3/volumes/{volume_id}", makers.delete),
        ("GET", "/v3/volumes/{volume_id}/encryption", show_encryption),
    ]
