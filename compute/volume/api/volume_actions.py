"""/v3/volumes/{volume_id}/action: each by its name."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy.orm import Session

from compute.server.errors import Absent, BadRequest, Conflict, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume import images
from compute.volume.api import forms
from compute.volume.api.attach_actions import AttachActions
from compute.volume.api.manage import unmanage_volume
from compute.volume.api.volumes import delete
from compute.volume.call import Call
from compute.volume.instants import written
from compute.volume.kinds import kind_of, type_for
from compute.volume.matching import fits, is_true
from compute.volume.messages import add_message
from compute.volume.models.types import VolumeType
from compute.volume.models.volumes import Volume
from compute.volume.pools import check_not_frozen, pools
from compute.volume.quotas import PER_VOLUME, check, reserve, use_of
from compute.volume.volume_jobs import MIGRATING
from compute.volume.volume_work import VolumeWork
from compute.volume.volumes import (
    SETTLED,
    begin,
    invalid_input,
    invalid_volume,
    snapshots_of,
    volume_of,
)

REVERT_SINCE: Final = 40
EXTEND_IN_USE_SINCE: Final = 42
REIMAGE_SINCE: Final = 68
ADMIN: Final = "volume_extension:volume_admin_actions"
FORMATS: Final = ("raw", "vmdk", "vdi", "qcow2", "vhd", "vhdx")
STATUSES: Final = (
    *("creating", "available", "deleting", "error", "error_deleting", "error_managing", "managing"),
    *("attaching", "in-use", "detaching", "maintenance", "restoring-backup", "error_restoring"),
    *("reserved", "awaiting-transfer", "backing-up", "error_backing-up", "error_extending"),
    *("downloading", "uploading", "retyping", "extending"),
)

_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 255}
_MAYBE: Final = {"type": ["string", "null"]}


def _form(name: str, fields: dict[str, Any], *required: str, **more: Any) -> Schema:
    return Schema(forms.within(name, fields, *required, **more))


_SIZE: Final = {
    "type": ["integer", "string"],
    "pattern": "^[0-9]+$",
    "minimum": 1,
    "maximum": 2**31 - 1,
}
_EXTEND = _form("os-extend", {"new_size": _SIZE}, "new_size")
_RETYPE = _form(
    "os-retype",
    {"new_type": {"type": "string"}, "migration_policy": {"enum": ["on-demand", "never", None]}},
    "new_type",
)
_BOOTABLE = _form("os-set_bootable", {"bootable": forms.TRUTH}, "bootable")
_READ_ONLY = _form("os-update_readonly_flag", {"readonly": forms.TRUTH}, "readonly")
_UPLOAD = _form(
    "os-volume_upload_image",
    {
        "image_name": _TEXT,
        "force": forms.TRUTH,
        "disk_format": {"enum": [*FORMATS, "ploop"]},
        "container_format": {"type": ["string", "null"], "maxLength": 255},
        "visibility": {"enum": ["community", "public", "private", "shared"]},
        "protected": forms.TRUTH,
    },
    "image_name",
)
_RESET = _form(
    "os-reset_status",
    {"status": _MAYBE, "attach_status": _MAYBE, "migration_status": _MAYBE},
    minProperties=1,
)
_MIGRATE = _form(
    "os-migrate_volume",
    {
        "host": {"type": ["string", "null"], "maxLength": 255},
        "force_host_copy": forms.TRUTH,
        "lock_volume": forms.TRUTH,
        "cluster": {"type": ["string", "null"], "maxLength": 255},
    },
)
_REVERT = _form("revert", {"snapshot_id": _MAYBE}, more=True)
_REIMAGE = _form("os-reimage", {"image_id": forms.UUID, "reimage_reserved": forms.TRUTH}, "image_id")
_SET_IMAGE = _form(
    "os-set_image_metadata",
    {"metadata": forms.specs(r"^[\s\S]{1,255}$", "string")},
    "metadata",
)
_UNSET_IMAGE = _form("os-unset_image_metadata", {"key": _TEXT}, "key")


def _extend(call: Call) -> Answer:
    size = int(call.body(_EXTEND)["os-extend"]["new_size"])
    with call.write() as session:
        row = volume_of(call, session, "volume:extend")
        check_not_frozen(session, row.host, row.backend)
        if row.status == "in-use" and call.minor >= EXTEND_IN_USE_SINCE:
            call.enforce("volume:extend_attached_volume", project_id=row.project_id)
            expected = "in-use"
        else:
            expected = "available"
        if size <= row.size_gib:
            raise invalid_input(
                "New size for extend must be greater than current size."
                f" (current: {row.size_gib}, extended: {size})."
            )
        if not begin(row, "extending", expected):
            raise invalid_volume(
                f"Volume {row.id} status must be '{{'status': '{expected}'}}' to extend, currently"
                f" {row.status}."
            )
        more = {"gigabytes": size - row.size_gib, PER_VOLUME: size}
        reserve(session, row.project_id, more, row.volume_type_id)
        row.task, row.size_gib = {"old_size_gib": row.size_gib}, size
    return Answer(202)


def _retype(call: Call) -> Answer:
    fields = call.body(_RETYPE)["os-retype"]
    with call.write() as session:
        row = volume_of(call, session, "volume:retype")
        check_not_frozen(session, row.host, row.backend)
        try:
            kind = type_for(session, call.context, fields["new_type"])
        except NotFound:
            raise invalid_input(f"Invalid volume_type passed: {fields['new_type']}.") from None
        if kind_of(session, kind).is_encrypted:
            raise Absent("No backend encrypts volumes: choose a type without encryption.")
        free = row.migration_status in SETTLED and row.group_id is None
        if not (free and row.volume_type_id != kind.id and begin(row, "retyping", *_AT_REST)):
            raise invalid_volume(
                "Retype needs volume to be in available or in-use state, not be part of an active"
                " migration or a consistency group, requested type has to be different that the one"
                " from the volume, and for in-use volumes front-end qos specs cannot change."
            )
        use = use_of(session, row.project_id)
        check(use, {f"volumes_{kind.name}": 1, f"gigabytes_{kind.name}": row.size_gib})
        _place_retyped(call, session, row, kind, fields.get("migration_policy") or "never")
    return Answer(202)


_AT_REST: Final = ("available", "in-use")


def _place_retyped(call: Call, session: Session, row: Volume, kind: VolumeType, policy: str) -> None:
    """Where a volume of the new type is: here, or at another backend of this host if it may move."""
    there = [pool for pool in pools(session, call.site.now_us()) if pool.host == row.host]
    taken = [pool.backend for pool in there if fits(kind.extra_specs, pool.capabilities)]
    row.task = {"type_id": kind.id}
    if row.backend in taken:
        return
    can_move = policy == "on-demand" and row.previous_status == "available"
    if not taken or not can_move or snapshots_of(session, row.id):
        row.status, row.task = row.previous_status or "available", None
        args = (row.project_id, "VOLUME", row.id, "001", "003", call.request.request_id)
        add_message(session, call.site, *args)
        return
    row.task = {"type_id": kind.id, "backend": taken[0]}


def _migrate(call: Call) -> Answer:
    fields = call.body(_MIGRATE)["os-migrate_volume"]
    if fields.get("cluster") or not fields.get("host"):
        raise BadRequest("Invalid input received: a host must be named; there are no clusters.")
    with call.write() as session:
        row = volume_of(call, session, f"{ADMIN}:migrate_volume")
        host, _, rest = str(fields["host"]).partition("@")
        backend = rest.partition("#")[0]
        known = {(pool.host, pool.backend) for pool in pools(session, call.site.now_us())}
        if (host, backend) not in known:
            raise BadRequest(f"Invalid host: No available service named '{fields['host']}'")
        idle = row.status in _AT_REST and row.migration_status in SETTLED and row.group_id is None
        elsewhere = (host, backend) != (row.host, row.backend)
        if not (idle and elsewhere) or snapshots_of(session, row.id):
            raise invalid_volume(
                f"Volume {row.id} status must be available or in-use, must not be migrating, have"
                " snapshots, be replicated, be part of a group and destination host/cluster must be"
                " different than the current one"
            )
        if host != row.host or row.status == "in-use":
            raise Absent("Volumes move between the backends of one host, while they are not in use.")
        row.migration_status, row.task = MIGRATING, {"backend": backend}
        row.previous_status, row.status = row.status, "maintenance"
    return Answer(202)


def _set_bootable(call: Call) -> Answer:
    value = is_true(call.body(_BOOTABLE)["os-set_bootable"]["bootable"])
    with call.write() as session:
        row = volume_of(call, session, "volume:update")
        row.is_bootable, row.updated_us = value, call.site.now_us()
    return Answer(200)


def _set_read_only(call: Call) -> Answer:
    value = is_true(call.body(_READ_ONLY)["os-update_readonly_flag"]["readonly"])
    with call.write() as session:
        row = volume_of(call, session, "volume:update_readonly_flag")
        if row.status != "available":
            raise invalid_volume(
                f"Volume {row.id} status must be available to update readonly flag, but current status"
                f" is: {row.status}."
            )
        row.admin_meta = {**row.admin_meta, "readonly": str(value)}
        row.updated_us = call.site.now_us()
    return Answer(202)


def _reset(call: Call) -> Answer:
    fields = call.body(_RESET)["os-reset_status"]
    status = (fields.get("status") or "").lower()
    attach = (fields.get("attach_status") or "").lower()
    migration = (fields.get("migration_status") or "").lower()
    _check_reset(status, attach, migration)
    with call.write() as session:
        row = volume_of(call, session, f"{ADMIN}:reset_status")
        if status == "in-use" and row.attach_status != "attached":
            raise BadRequest(
                "Cannot reset-state to in-use because volume does not have any attachments."
            )
        if status or migration:
            row.status = status or row.status
            row.status_by_hand = True
        row.attach_status = attach or row.attach_status
        if migration:
            row.migration_status = None if migration == "none" else migration
        row.task, row.updated_us = None, call.site.now_us()
    return Answer(202)


def _check_reset(status: str, attach: str, migration: str) -> None:
    if status in ("deleting", "error_deleting", "detaching"):
        raise BadRequest(f"Cannot reset-state to {status}")
    if status and status not in STATUSES:
        raise invalid_input(f"{status} is not a valid status of a volume.")
    if attach and attach not in ("detached", "attached", "attaching", "detaching", "error_attaching"):
        raise invalid_input(f"{attach} is not a valid attach status.")
    known = (MIGRATING, "error", "success", "completing", "none", "starting")
    if migration and migration not in known:
        raise invalid_input(f"{migration} is not a valid migration status.")


def _force_delete(call: Call) -> Answer:
    delete(call, force=True, cascade=False, rule=f"{ADMIN}:force_delete")
    return Answer(202)


def _revert(call: Call) -> Answer:
    asked = call.body(_REVERT)["revert"].get("snapshot_id")
    with call.write() as session:
        row = volume_of(call, session, "volume:revert_to_snapshot")
        there = snapshots_of(session, row.id)
        if not there:
            raise BadRequest(f"Volume {row.id} doesn't have any snapshots.")
        newest = there[0]
        if asked != newest.id:
            raise BadRequest(
                f"Specified snapshot {asked} is None or not the latest one of volume {row.id}."
            )
        what = f"Can't revert volume {row.id} to its latest snapshot {newest.id}."
        if row.size_gib != newest.size_gib:
            raise BadRequest(f"{what} The volume size must be equal to the snapshot size.")
        if newest.status != "available":
            raise Conflict(f"{what} Snapshot's status must be 'available'.")
        if not begin(row, "reverting", "available"):
            raise Conflict(f"{what} Volume's status must be 'available'.")
        newest.status, row.task = "restoring", {"snapshot_id": newest.id}
    return Answer(202)


# -- metadata of the image --


def _image_meta(call: Call, session: Session, verb: str) -> Volume:
    row = volume_of(call, session, "volume:get")
    call.enforce(f"volume_extension:volume_image_metadata:{verb}", project_id=row.project_id)
    return row


def _show_image(call: Call) -> Answer:
    with call.read() as session:
        return json_answer({"metadata": dict(_image_meta(call, session, "show").image_meta)})


def _set_image(call: Call) -> Answer:
    values = call.body(_SET_IMAGE)["os-set_image_metadata"]["metadata"]
    with call.write() as session:
        row = _image_meta(call, session, "set")
        row.image_meta = {**row.image_meta, **values}
        return json_answer({"metadata": dict(row.image_meta)})


def _unset_image(call: Call) -> Answer:
    key = call.body(_UNSET_IMAGE)["os-unset_image_metadata"]["key"]
    with call.write() as session:
        row = _image_meta(call, session, "remove")
        if key not in row.image_meta:
            raise NotFound("Metadata item was not found.")
        row.image_meta = {name: value for name, value in row.image_meta.items() if name != key}
    return Answer(200)


def _absent(call: Call) -> Answer:
    with call.read() as session:
        volume_of(call, session, "volume:get")
    raise Absent("There is nothing like that here: no volume is taken over, or moved by hand.")


_ACTIONS: Final[Mapping[str, tuple[Callable[[Call], Answer], int]]] = {
    "os-extend": (_extend, 0),
    "os-retype": (_retype, 0),
    "os-migrate_volume": (_migrate, 0),
    "os-set_bootable": (_set_bootable, 0),
    "os-update_readonly_flag": (_set_read_only, 0),
    "os-reset_status": (_reset, 0),
    "os-force_delete": (_force_delete, 0),
    "revert": (_revert, REVERT_SINCE),
    "os-show_image_metadata": (_show_image, 0),
    "os-set_image_metadata": (_set_image, 0),
    "os-unset_image_metadata": (_unset_image, 0),
    "os-unmanage": (unmanage_volume, 0),
    "os-migrate_volume_completion": (_absent, 0),
    "os-extend_volume_completion": (_absent, 0),
}


class _Actions:
    """Those that need the event loop, and the way to all."""

    def __init__(self, work: VolumeWork, attaching: AttachActions) -> None:
        self._work = work
        self._attaching = attaching.actions()

    async def act(self, call: Call) -> Answer:
        """One action by its name."""
        name = next(iter(call.request.json()), "")
        if name == "os-volume_upload_image":
            return await self._upload(call)
        if name == "os-reimage" and call.minor >= REIMAGE_SINCE:
            return await self._reimage(call)
        if name in self._attaching:
            return await self._attaching[name](call)
        known = _ACTIONS.get(name)
        if known is None or call.minor < known[1]:
            raise BadRequest(f"There is no such action: {name}")
        answer = await call.site.database.run(lambda: known[0](call))
        self._work.ask()
        return answer

    async def _upload(self, call: Call) -> Answer:
        """The image's row first: clients look for it as soon as this is answered."""
        fields = call.body(_UPLOAD)["os-volume_upload_image"]
        kind = fields.get("disk_format", "raw")
        if kind not in FORMATS or (fields.get("container_format") or "bare") != "bare":
            raise invalid_input("the image's format is not one that can be written.")
        shown = await call.site.database.run(lambda: _begin_upload(call, fields, kind))
        said = {
            "id": shown.pop("image_id"),
            "name": fields["image_name"],
            "disk_format": kind,
            "container_format": "bare",
            "visibility": fields.get("visibility", "shared"),
            "protected": is_true(fields.get("protected", False)),
        }
        try:
            await self._work.library.queue(call.context, said)
        except BaseException:
            await call.site.database.run(lambda: _take_back(call, said["id"]))
            raise
        self._work.ask()
        view = {**shown, "image_id": said["id"], "image_name": said["name"]}
        view |= {name: said[name] for name in ("disk_format", "container_format")}
        view |= {name: said[name] for name in ("visibility", "protected") if name in fields}
        return json_answer({"os-volume_upload_image": view}, 202)

    async def _reimage(self, call: Call) -> Answer:
        fields = call.body(_REIMAGE)["os-reimage"]
        image = await self._work.library.show(call.context, fields["image_id"])
        if image.status != "active" or image.size_bytes is None:
            raise invalid_input(f"Image {image.id} is not active.")
        reserved = is_true(fields.get("reimage_reserved", False))

        def change() -> None:
            with call.write() as session:
                row = volume_of(call, session, "volume:reimage")
                if reserved:
                    call.enforce("volume:reimage_reserved", project_id=row.project_id)
                expected = ("available", "error", *(("reserved",) if reserved else ()))
                needed = max(image.virtual_size_bytes or 0, image.size_bytes or 0)
                if needed > row.size_gib << 30 or image.min_disk_gib > row.size_gib:
                    raise invalid_input("The image is larger than the volume.")
                if not begin(row, "downloading", *expected):
                    raise Conflict(f"Volume {row.id} must be {' or '.join(expected)} for this.")
                row.task = {
                    "image": images.facts_of(image),
                    "image_meta": images.metadata_of(image),
                }

        await call.site.database.run(change)
        self._work.ask()
        return Answer(202)


def _begin_upload(call: Call, fields: Mapping[str, Any], kind: str) -> dict[str, Any]:
    with call.write() as session:
        row = volume_of(call, session, "volume_extension:volume_actions:upload_image")
        if fields.get("visibility") == "public":
            mine = {"project_id": row.project_id}
            call.enforce("volume_extension:volume_actions:upload_public", **mine)
        expected = _AT_REST if is_true(fields.get("force", False)) else ("available",)
        if not begin(row, "uploading", *expected):
            raise invalid_volume(f"Volume {row.id} status must be {' or '.join(expected)}")
        image_id = call.site.new_uuid()
        row.task = {"image_id": image_id, "disk_format": kind}
        type_row = session.get(VolumeType, row.volume_type_id) if row.volume_type_id else None
        return {
            "id": row.id,
            "updated_at": written(row.updated_us),
            "status": "uploading",
            "display_description": row.description,
            "size": row.size_gib,
            "volume_type": type_row.name if type_row else None,
            "image_id": image_id,
        }


def _take_back(call: Call, image_id: str) -> None:
    with call.write() as session:
        row = session.get(Volume, call.path["volume_id"])
        if (
            row is not None
            and row.status == "uploading"
            and (row.task or {}).get("image_id") == image_id
        ):
            row.status, row.task = row.previous_status or "available", None


def routes(work: VolumeWork, attaching: AttachActions) -> list[tuple[Any, ...]]:
    """What answers them."""
    return [("POST", "/v3/volumes/{volume_id}/action", _Actions(work, attaching).act)]
