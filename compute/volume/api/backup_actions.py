"""/v3/backups: what needs hands at the backends or the object store.

Users may name a container, as upstream lets them; it is shown, and the bytes are with the project's
other backups, so that they can share them.
"""

import base64
import binascii
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.api.backups import METADATA_SINCE, SERVICE, ZONE_SINCE, backup_of, summary
from compute.volume.backup_work import BackupWork
from compute.volume.backups import (
    begin_restore,
    check_source,
    copy_of,
    has_dependents,
    invalid_backup,
    invalid_volume,
    newest,
    occupy,
    release,
)
from compute.volume.call import Call
from compute.volume.heartbeat import ZONE
from compute.volume.models.backups import Backup
from compute.volume.models.volumes import Snapshot, Volume
from compute.volume.pools import check_not_frozen, fitting, pools
from compute.volume.quotas import PER_VOLUME, reserve

TRUE: Final = (True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t")
UUID_OR_NULL: Final = {**forms.UUID, "type": ["string", "null"]}

_CREATE = Schema(
    forms.within(
        "backup",
        {
            "volume_id": forms.UUID,
            "container": {"type": ["string", "null"], "minLength": 0, "maxLength": 255},
            "description": forms.DESCRIPTION,
            "incremental": forms.TRUTH,
            "force": forms.TRUTH,
            "name": forms.NAME_OR_NULL,
            "snapshot_id": UUID_OR_NULL,
            "metadata": forms.SPECS,
            "availability_zone": forms.NAME_OR_NULL,
        },
        "volume_id",
    )
)
_RESTORE = Schema(forms.within("restore", {"name": forms.NAME_OR_NULL, "volume_id": UUID_OR_NULL}))
_IMPORT = Schema(
    forms.within(
        "backup-record",
        {
            "backup_service": {"type": "string", "minLength": 1, "maxLength": 255},
            "backup_url": {"type": "string", "minLength": 1},
        },
        *("backup_service", "backup_url"),
    )
)
_RESET = Schema(
    forms.within(
        "os-reset_status", {"status": {"type": "string", "enum": ["available", "error"]}}, "status"
    )
)


class Record(msgspec.Struct):
    """What `export_record` wrote."""

    id: str
    user_id: str
    project_id: str
    volume_id: str
    display_name: str | None
    display_description: str | None
    size: int
    metadata: dict[str, str]
    source: dict[str, Any]
    data_us: int
    container: str
    copy: str
    key: str


def _volume(call: Call, session: Session, ident: str) -> Volume:
    row = session.get(Volume, ident)
    mine = row is not None and (call.context.is_admin or row.project_id == call.context.project_id)
    if row is None or not mine:
        raise NotFound(f"Volume {ident} could not be found.")
    return row


def _snapshot(session: Session, volume: Volume, ident: str | None) -> Snapshot | None:
    if ident is None:
        return None
    row = session.get(Snapshot, ident)
    if row is None or row.project_id != volume.project_id:
        raise NotFound(f"Snapshot {ident} could not be found.")
    if row.volume_id != volume.id:
        raise BadRequest(
            f"Invalid snapshot: the snapshot {ident} is not one of the volume {volume.id}."
        )
    return row


def _create(call: Call) -> Answer:
    fields = call.body(_CREATE)["backup"]
    call.enforce("backup:create")
    with call.write() as session:
        volume = _volume(call, session, fields["volume_id"])
        snapshot = _snapshot(session, volume, fields.get("snapshot_id"))
        check_not_frozen(session, volume.host, volume.backend)
        check_source(volume, snapshot, fields.get("force") in TRUE)
        data_us = snapshot.created_us if snapshot else call.site.now_us()
        incremental = fields.get("incremental") in TRUE
        parent = newest(session, volume, data_us if snapshot else None) if incremental else None
        deltas = {"backups": 1, "backup_gigabytes": volume.size_gib}
        reserve(session, str(call.context.project_id), deltas)
        row = Backup(
            id=call.site.new_uuid(),
            project_id=str(call.context.project_id),
            user_id=call.context.user_id,
            volume_id=volume.id,
            snapshot_id=snapshot.id if snapshot else None,
            parent_id=parent.id if parent else None,
            name=fields.get("name"),
            description=fields.get("description"),
            container=fields.get("container") or None,
            zone=(fields.get("availability_zone") if call.minor >= ZONE_SINCE else None) or ZONE,
            host=volume.host or call.site.host,
            status="creating",
            size_gib=snapshot.size_gib if snapshot else volume.size_gib,
            meta=fields.get("metadata", {}) if call.minor >= METADATA_SINCE else {},
            source=_source(volume),
            data_us=data_us,
            created_us=call.site.now_us(),
        )
        session.add(row)
        occupy(volume, snapshot)
    return json_answer({"backup": summary(call, row)}, 202)


def _source(volume: Volume) -> dict[str, Any]:
    return {
        "name": volume.name,
        "meta": volume.meta,
        "image_meta": volume.image_meta,
        "is_bootable": volume.is_bootable,
        "volume_type_id": volume.volume_type_id,
        "host": volume.host,
        "backend": volume.backend,
    }


def _restore(call: Call) -> Answer:
    fields = call.body(_RESTORE)["restore"]
    with call.write() as session:
        row = backup_of(call, session, "backup:restore")
        if row.status != "available":
            raise invalid_backup("Backup status must be available")
        copy_of(row)
        ident = fields.get("volume_id")
        if ident is None:
            volume = _new_volume(call, session, row, fields.get("name"))
        else:
            volume = _volume(call, session, ident)
            if volume.status != "available":
                raise invalid_volume("Volume to be restored to must be available")
            if volume.size_gib < row.size_gib:
                raise invalid_volume(
                    f"volume size {volume.size_gib} is too small to restore backup of size"
                    f" {row.size_gib}."
                )
            check_not_frozen(session, volume.host, volume.backend)
            volume.previous_status = volume.status
        begin_restore(row, volume, is_new=ident is None)
    said = {"backup_id": row.id, "volume_id": volume.id, "volume_name": volume.name or ""}
    return json_answer({"restore": said}, 202)


def _new_volume(call: Call, session: Session, row: Backup, name: str | None) -> Volume:
    """A volume to restore to: where the old one was, if that takes any; else where there is room."""
    size = row.size_gib
    kind = row.source.get("volume_type_id")
    reserve(
        session,
        str(call.context.project_id),
        {"volumes": 1, "gigabytes": size, PER_VOLUME: size},
        kind,
    )
    there = fitting(pools(session, call.site.now_us()), {}, size)
    old = (row.source.get("host"), row.source.get("backend"))
    there.sort(key=lambda pool: (pool.host, pool.backend) != old)
    if not there:
        raise BadRequest("Invalid input received: no backend takes the volume.")
    volume = Volume(
        id=call.site.new_uuid(),
        project_id=str(call.context.project_id),
        user_id=call.context.user_id,
        name=name or f"restore_backup_{row.id}",
        description="auto-created_from_restore_from_backup",
        size_gib=size,
        status="creating",
        attach_status="detached",
        volume_type_id=kind,
        zone=there[0].zone,
        host=there[0].host,
        backend=there[0].backend,
        is_bootable=bool(row.source.get("is_bootable")),
        meta=dict(row.source.get("meta") or {}),
        image_meta=dict(row.source.get("image_meta") or {}),
        created_us=call.site.now_us(),
    )
    session.add(volume)
    session.flush()
    return volume


def _delete(call: Call) -> Answer:
    with call.write() as session:
        row = backup_of(call, session, "backup:delete")
        if row.status not in ("available", "error"):
            raise invalid_backup("Backup status must be available or error")
        _condemn(call, session, row)
    return Answer(202)


def _condemn(call: Call, session: Session, row: Backup) -> None:
    if has_dependents(session, row.id):
        raise invalid_backup("Incremental backups exist for this backup.")
    release(session, row)
    if row.copy_id is not None:  # what was never finished may have left a snapshot at its host
        row.host = call.site.host
    row.status, row.updated_us = "deleting", call.site.now_us()


def _force_delete(call: Call) -> Answer:
    with call.write() as session:
        rule = "volume_extension:backup_admin_actions:force_delete"
        _condemn(call, session, backup_of(call, session, rule))
    return Answer(202)


def _reset(call: Call) -> bool:
    """Whether it was being made."""
    status = call.body(_RESET)["os-reset_status"]["status"]
    with call.write() as session:
        row = backup_of(call, session, "volume_extension:backup_admin_actions:reset_status")
        was_made = row.status == "creating"
        release(session, row)
        row.status, row.updated_us = status, call.site.now_us()
    return was_made


def _record(call: Call) -> Record:
    fields = call.body(_IMPORT)["backup-record"]
    if fields["backup_service"] != SERVICE:
        raise BadRequest(f"Invalid input received: unknown backup service {fields['backup_service']}.")
    try:
        raw = base64.b64decode(fields["backup_url"], validate=True)
        record = msgspec.json.decode(raw, type=Record)
        UUID(record.id)
    except (binascii.Error, ValueError):
        raise BadRequest("Invalid input received: Can't parse backup record.") from None
    return record


def _import(call: Call) -> Answer:
    call.enforce("backup:backup-import")
    record = _record(call)
    now = call.site.now_us()
    with call.write() as session:
        if session.get(Backup, record.id) is not None:
            raise invalid_backup("Backup already exists in database.")
        deltas = {"backups": 1, "backup_gigabytes": record.size}
        reserve(session, str(call.context.project_id), deltas)
        row = Backup(
            id=record.id,
            project_id=str(call.context.project_id),
            user_id=call.context.user_id,
            volume_id=record.volume_id,
            name=record.display_name,
            description=record.display_description,
            zone=ZONE,
            host=call.site.host,
            status="creating",
            size_gib=record.size,
            meta=record.metadata,
            source=record.source,
            store=record.container,
            copy_id=record.copy,
            sealed_key=record.key.encode(),
            is_import=True,
            data_us=record.data_us,
            created_us=now,
        )
        session.add(row)
    return json_answer({"backup": summary(call, row)}, 201)


class _Actions:
    """Requests after which there is work."""

    def __init__(self, work: BackupWork) -> None:
        self._work = work

    def then(self, handler: Any) -> Any:
        """The handler, and then the work."""

        async def handled(call: Call) -> Answer:
            answer: Answer = await call.site.database.run(lambda: handler(call))
            self._work.ask()
            return answer

        return handled

    async def act(self, call: Call) -> Answer:
        """POST /v3/backups/{backup_id}/action."""
        body = call.request.json()
        if "os-force_delete" in body:
            answer: Answer = await self.then(_force_delete)(call)
            return answer
        if "os-reset_status" not in body:
            raise BadRequest(f"There is no such action: {next(iter(body), '')}")
        if await call.site.database.run(lambda: _reset(call)):
            await self._work.vault.drop(call.path["backup_id"])
        return Answer(202)


def routes(work: BackupWork) -> list[tuple[Any, ...]]:
    """What answers such requests."""
    actions = _Actions(work)
    return [
        ("POST", "/v3/backups", actions.then(_create)),
        ("POST", "/v3/backups/import_record", actions.then(_import)),
        ("DELETE", "/v3/backups/{backup_id}", actions.then(_delete)),
        ("POST", "/v3/backups/{backup_id}/restore", actions.then(_restore)),
        ("POST", "/v3/backups/{backup_id}/action", actions.act),
    ]
