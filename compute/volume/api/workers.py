"""/v3/workers/cleanup: end what hosts that are down had begun, so that nothing waits for them.

A host that is up ends its own work when it starts; this is for those that will not. What is ended
becomes an error that users see and can delete, and a host that comes back after all finds its rows
changed and leaves them alone.
"""

import zlib
from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.site import Site
from compute.volume.api import forms
from compute.volume.backup_work import end as end_backups
from compute.volume.call import Call
from compute.volume.groups import settle
from compute.volume.heartbeat import SCHEDULER, VOLUME, is_up
from compute.volume.matching import is_true
from compute.volume.models.services import VolumeService
from compute.volume.models.volumes import Snapshot, Volume
from compute.volume.volume_jobs import fail, jobs_of

SINCE: Final = 24
KINDS: Final = ("Volume", "Snapshot", "Backup")
ENDS: Final = {
    "creating": "error",
    "downloading": "error",
    "deleting": "error_deleting",
    "extending": "error_extending",
}
"""Where a group's members lead to; what is under way for itself ends as when it fails."""

_NAME = {**forms.HOST, "pattern": r"^[a-zA-Z0-9-._#@:/+]*$"}
_FORM = Schema(
    {
        "type": "object",
        "properties": {
            "cluster_name": _NAME,
            "disabled": forms.TRUTH,
            "host": _NAME,
            "is_up": forms.TRUTH,
            "binary": {"enum": [VOLUME, SCHEDULER]},
            "resource_id": {"oneOf": [{"type": "null"}, forms.UUID]},
            "resource_type": {"type": ["string", "null"], "maxLength": 40},
            "service_id": {
                "type": ["integer", "string", "null"],
                "pattern": "^[0-9]*$",
                "maxLength": 11,
            },
        },
        "additionalProperties": False,
    }
)


def _number(row: VolumeService) -> int:
    """Services have no numbers here; clients want one."""
    return zlib.crc32(f"{row.host} {row.binary}".encode()) & 0x7FFFFFFF


def _view(row: VolumeService) -> dict[str, Any]:
    return {"id": _number(row), "host": row.host, "binary": row.binary, "cluster_name": None}


def _meant(session: Session, asked: dict[str, Any], now_us: int) -> list[VolumeService]:
    """The backends that are asked for: those that are down, unless it says otherwise."""
    up = is_true(asked.get("is_up") or False)
    found = []
    for row in session.scalars(select(VolumeService).order_by(VolumeService.host)):
        wanted = (
            row.binary == (asked.get("binary") or VOLUME)
            and is_up(row, now_us) == up
            and asked.get("host") in (None, row.host, row.host.partition("@")[0])
            and asked.get("disabled") in (None, row.is_disabled)
            and str(asked.get("service_id") or _number(row)) == str(_number(row))
        )
        found += [row] if wanted and not asked.get("cluster_name") else []
    return found


def clean_up(call: Call) -> Answer:
    """POST."""
    call.enforce("workers:cleanup")
    asked = call.body(_FORM)
    if asked.get("disabled") is not None:
        asked["disabled"] = is_true(asked["disabled"])
    kind = (asked.get("resource_type") or "").title()
    if kind and kind not in KINDS:
        raise BadRequest(
            f"Invalid input received: Resource type {kind} not valid, must be {' or '.join(KINDS)}"
        )
    with call.write() as session:
        now = call.site.now_us()
        rows = _meant(session, asked, now)
        down = [row for row in rows if row.binary == VOLUME and not is_up(row, now)]
        for row in down:
            _end(session, call.site, row.host, [kind] if kind else KINDS, asked.get("resource_id"))
        session.flush()
        settle(session)
    unavailable = [_view(row) for row in rows if row not in down]
    return json_answer({"cleaning": [_view(row) for row in down], "unavailable": unavailable})


def _end(session: Session, site: Site, place: str, kinds: Collection[str], ident: str | None) -> None:
    """End what is under way at a host's backend. ident: of one thing alone."""
    host, _, backend = place.partition("@")
    for job in jobs_of(session, host):
        kind = "Snapshot" if job.is_snapshot else "Volume"
        if job.backend == backend and kind in kinds and ident in (None, job.ident):
            fail(session, site, job)
    if "Backup" in kinds:
        end_backups(session, site, host, ident)
    session.flush()
    here = select(Volume.id).where(Volume.host == host, Volume.backend == backend)
    for status, end in ENDS.items():
        if "Volume" in kinds:
            change = update(Volume).where(Volume.id.in_(here), Volume.status == status)
            change = change if ident is None else change.where(Volume.id == ident)
            session.execute(change.values(status=end))
        if "Snapshot" in kinds:
            change = update(Snapshot).where(Snapshot.volume_id.in_(here), Snapshot.status == status)
            change = change if ident is None else change.where(Snapshot.id == ident)
            session.execute(change.values(status=end))


ROUTES: Final = [("POST", "/v3/workers/cleanup", clean_up, SINCE)]
