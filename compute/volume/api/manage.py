"""Volumes and snapshots that a backend has and no row tells of: listed, taken over, let go.

A reference is `source-name` (or `source-id`): the name under which the backend keeps it, which is the
id that it had, with or without `volume-` or `snapshot-` before it. A file `NAME.raw` that was put into
a folder of files is such a volume, too. A volume gets a new id, a snapshot keeps its own.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.api.volume_view import detail
from compute.volume.api.volumes import named
from compute.volume.call import Call
from compute.volume.drivers.contract import Found
from compute.volume.heartbeat import ZONE
from compute.volume.instants import written
from compute.volume.kinds import default_type, type_for
from compute.volume.matching import is_true
from compute.volume.models.types import VolumeType
from compute.volume.models.volumes import Snapshot, Volume
from compute.volume.paging import page_of
from compute.volume.pools import GIB, Pool, check_not_frozen, pools
from compute.volume.quotas import reserve
from compute.volume.volume_work import VolumeWork
from compute.volume.volumes import (
    check_deletable,
    invalid_input,
    invalid_snapshot,
    snapshot_of,
    volume_of,
)

LISTS_SINCE: Final = 8
SORT_KEYS: Final = ("size", "reference")
_NAME: Final = re.compile(r"(?:volume-|_?snapshot-)?([A-Za-z0-9-]{1,64})")

_METADATA = {**forms.specs(r"^[a-zA-Z0-9-_:. /]{1,255}$", "string"), "type": ["object", "null"]}
_VOLUME = Schema(
    forms.within(
        "volume",
        {
            "description": forms.DESCRIPTION,
            "availability_zone": forms.NAME_OR_NULL,
            "bootable": forms.TRUTH,
            "volume_type": forms.NAME_OR_NULL,
            "name": forms.NAME_OR_NULL,
            "host": forms.HOST,
            "cluster": forms.NAME_OR_NULL,
            "ref": {"type": ["object", "string"]},
            "metadata": _METADATA,
        },
        "ref",
    )
)
_SNAPSHOT = Schema(
    forms.within(
        "snapshot",
        {
            "description": forms.DESCRIPTION,
            "metadata": _METADATA,
            "name": forms.NAME_OR_NULL,
            "volume_id": forms.UUID,
            "ref": {"type": ["object", "null", "string"]},
        },
        *("ref", "volume_id"),
    )
)


def _referred(ref: Any) -> str:
    """The name that a reference means. Raises BadRequest."""
    name = ref.get("source-name") or ref.get("source-id") if isinstance(ref, dict) else None
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        raise BadRequest(
            "Manage existing volume failed due to invalid backend reference: it must have a source-name"
            " or source-id that the backend knows."
        )
    return found[1]


# -- taking over --


def _manage_volume(call: Call) -> Answer:
    fields = call.body(_VOLUME)["volume"]
    call.enforce("volume_extension:volume_manage")
    if fields.get("cluster") or not fields.get("host"):
        raise BadRequest("Invalid input received: a host is required, and there are no clusters.")
    name = _referred(fields["ref"])
    with call.write() as session:
        pool = _pool(session, call, fields["host"])
        check_not_frozen(session, pool.host, pool.backend)
        if session.get(Volume, name) is not None or _is_coming(session, name):
            raise BadRequest(f"Unable to manage existing volume. Volume {name} already managed.")
        kind = _kind(call, session, fields.get("volume_type"))
        zone = fields.get("availability_zone") or pool.zone
        if zone != ZONE:
            raise invalid_input(f"Availability zone '{zone}' is invalid.")
        reserve(session, str(call.context.project_id), {"volumes": 1}, kind.id)
        said = named(fields)
        row = Volume(
            id=call.site.new_uuid(),
            project_id=call.context.project_id,
            user_id=call.context.user_id,
            name=said.get("name"),
            description=said.get("description"),
            size_gib=0,
            status="managing",
            attach_status="detached",
            volume_type_id=kind.id,
            zone=zone,
            host=pool.host,
            backend=pool.backend,
            is_bootable=is_true(fields.get("bootable") or False),
            meta=dict(fields.get("metadata") or {}),
            task={"name": name},
            created_us=call.site.now_us(),
        )
        session.add(row)
        session.flush()
        view = detail(call, session, row)
    return json_answer({"volume": view}, 202)


def _pool(session: Session, call: Call, host: str) -> Pool:
    """Raises NotFound."""
    for pool in pools(session, call.site.now_us()):
        if host in (pool.name, pool.name.partition("#")[0]):
            return pool
    raise NotFound(f"Service cinder-volume could not be found on host {host}.")


def _is_coming(session: Session, name: str) -> bool:
    """Whether a volume of this name is being taken over already."""
    coming = session.scalars(select(Volume).where(Volume.status == "managing"))
    return any((row.task or {}).get("name") == name for row in coming)


def _kind(call: Call, session: Session, asked: str | None) -> VolumeType:
    if asked:
        return type_for(session, call.context, asked)
    return default_type(session, call.context.project_id)


def _manage_snapshot(call: Call) -> Answer:
    fields = call.body(_SNAPSHOT)["snapshot"]
    call.enforce("snapshot_extension:snapshot_manage")
    name = _referred(fields["ref"])
    with call.write() as session:
        volume = volume_of(call, session, "volume:get", fields["volume_id"])
        if not volume.host:
            raise invalid_input("The volume is on no host.")
        check_not_frozen(session, volume.host, volume.backend)
        if session.get(Snapshot, name) is not None:
            raise BadRequest(f"Unable to manage existing snapshot. Snapshot {name} already managed.")
        deltas = {"snapshots": 1, "gigabytes": volume.size_gib}
        reserve(session, volume.project_id, deltas, volume.volume_type_id)
        said = named(fields)
        row = Snapshot(
            id=name,
            volume_id=volume.id,
            volume_type_id=volume.volume_type_id,
            project_id=volume.project_id,
            user_id=call.context.user_id,
            name=said.get("name"),
            description=said.get("description"),
            size_gib=volume.size_gib,
            status="managing",
            meta=dict(fields.get("metadata") or {}),
            created_us=call.site.now_us(),
        )
        session.add(row)
        view = {
            "id": row.id,
            "volume_id": row.volume_id,
            "name": row.name,
            "description": row.description,
            "status": row.status,
            "size": row.size_gib,
            "metadata": row.meta,
            "created_at": written(row.created_us),
            "updated_at": None,
        }
    return json_answer({"snapshot": view}, 202)


# -- letting go --


def unmanage_volume(call: Call) -> Answer:
    """`os-unmanage` of a volume: its row goes, its bytes stay under its id."""
    with call.write() as session:
        row = volume_of(call, session, "volume_extension:volume_unmanage")
        check_deletable(session, row, force=False, cascade=False)
        session.delete(row)
    return Answer(202)


def unmanage_snapshot(call: Call) -> Answer:
    """`os-unmanage` of a snapshot."""
    with call.write() as session:
        row = snapshot_of(call, session, "snapshot_extension:snapshot_unmanage")
        if row.status not in ("available", "error") or row.group_snapshot_id is not None:
            raise invalid_snapshot(
                "Snapshot status must be available or error and must not be part of a group snapshot."
            )
        session.delete(row)
    return Answer(202)


# -- lists --


class _Lists:
    """What this process's backends have."""

    def __init__(self, work: VolumeWork) -> None:
        self._work = work

    async def _found(self, call: Call) -> Sequence[Found]:
        host, backend = call.query("host") or "", ""
        name, _, backend = host.partition("#")[0].partition("@")
        if not backend:
            raise BadRequest("Invalid input received: 'host' is required, as host@backend.")
        if name != call.site.host or backend not in self._work.backends:
            raise BadRequest(
                f"Invalid input received: {host} is no backend of the host that answers,"
                f" {call.site.host}."
            )
        return await self._work.backends[backend].found()

    def volumes(self, *, full: bool) -> Any:
        """GET /v3/manageable_volumes."""

        async def handler(call: Call) -> Answer:
            call.enforce("volume_extension:list_manageable")
            there = await self._found(call)

            def rows() -> list[dict[str, Any]]:
                with call.read() as session:
                    known = {each.name: session.get(Volume, each.name) for each in there}
                return [_row(each.name, each.size_bytes, known[each.name], full) for each in there]

            found = await call.site.database.run(rows)
            return json_answer({"manageable-volumes": _page(call, found)})

        return handler

    def snapshots(self, *, full: bool) -> Any:
        """GET /v3/manageable_snapshots: of volumes that are managed."""

        async def handler(call: Call) -> Answer:
            call.enforce("snapshot_extension:list_manageable")
            there = await self._found(call)

            def rows() -> list[dict[str, Any]]:
                with call.read() as session:
                    return [
                        {
                            **_row(name, size, session.get(Snapshot, name), full),
                            "source_reference": {"source-name": each.name},
                        }
                        for each in there
                        if session.get(Volume, each.name) is not None
                        for name, size in each.snapshots
                    ]

            found = await call.site.database.run(rows)
            return json_answer({"manageable-snapshots": _page(call, found)})

        return handler


def _row(name: str, size_bytes: int, known: object | None, full: bool) -> dict[str, Any]:
    row = {
        "reference": {"source-name": name},
        "size": -(-size_bytes // GIB),
        "safe_to_manage": known is None,
    }
    if full:
        row["reason_not_safe"] = None if known is None else "already managed"
        row["cinder_id"] = None if known is None else name
        row["extra_info"] = None
    return row


def _page(call: Call, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Raises BadRequest."""
    page = page_of(call.request.query)
    key, _, direction = (call.query("sort") or "reference:asc").partition(":")
    if key not in SORT_KEYS or direction not in ("", "asc", "desc"):
        raise BadRequest(f"Invalid input received: lists are sorted by {' or '.join(SORT_KEYS)}.")

    def value(row: Mapping[str, Any]) -> tuple[Any, ...]:
        name = row["reference"]["source-name"]
        return (row["size"], name) if key == "size" else (name,)

    rows.sort(key=value, reverse=direction != "asc" and bool(call.query("sort")))
    return rows[page.offset : page.offset + page.limit]


def routes(work: VolumeWork) -> list[tuple[Any, ...]]:
    """What answers them."""
    lists = _Lists(work)

    def then(handler: Callable[[Call], Answer]) -> Any:
        async def handled(call: Call) -> Answer:
            answer = await call.site.database.run(lambda: handler(call))
            work.ask()
            return answer

        return handled

    found = []
    for noun, listed, manage in (
        ("volume", lists.volumes, _manage_volume),
        ("snapshot", lists.snapshots, _manage_snapshot),
    ):
        for path, since in ((f"/v3/manageable_{noun}s", LISTS_SINCE), (f"/v3/os-{noun}-manage", 0)):
            found += [
                ("GET", path, listed(full=False), since),
                ("GET", f"{path}/detail", listed(full=True), since),
                ("POST", path, then(manage), since),
            ]
    return found
