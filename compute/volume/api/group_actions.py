"""/v3/groups/{group_id}/action and /v3/groups/action: deleting, resetting, copying groups."""

from collections.abc import Mapping
from typing import Any, Final

from compute.server.errors import Absent, BadRequest
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.api.groups import (
    REPLICATION_SINCE,
    SINCE,
    SOURCES_SINCE,
    group_of,
    new_group,
    summary,
)
from compute.volume.call import Call
from compute.volume.group_copies import copy_group
from compute.volume.group_work import GroupWork
from compute.volume.groups import STATUSES, check_deletable, settle
from compute.volume.heartbeat import ZONE
from compute.volume.matching import is_true

RESET_SINCE: Final = 20

_FROM = Schema(
    forms.within(
        "create-from-src",
        {
            "description": forms.DESCRIPTION,
            "name": forms.NAME_OR_NULL,
            "source_group_id": forms.UUID,
            "group_snapshot_id": forms.UUID,
        },
        oneOf=[{"required": ["group_snapshot_id"]}, {"required": ["source_group_id"]}],
    )
)
_DELETE = Schema(forms.within("delete", {"delete-volumes": forms.TRUTH}))
_RESET = Schema(forms.within("reset_status", {"status": {"type": "string"}}, "status"))


class _Actions:
    """Requests that need hands at the backends."""

    def __init__(self, work: GroupWork) -> None:
        self._work = work

    async def act(self, call: Call) -> Answer:
        """One action by its name."""
        name = next(iter(call.request.json()), "")
        known = _ACTIONS.get(name)
        if known is None or call.minor < known[1]:
            raise BadRequest(f"There is no such action: {name}")
        answer = await call.site.database.run(lambda: known[0](call))
        self._work.ask()
        return answer

    async def create_from_source(self, call: Call) -> Answer:
        """A group with copies of another one's volumes, or of a group snapshot's."""
        call.enforce("group:create")
        fields = call.body(_FROM)["create-from-src"]
        answer = await call.site.database.run(lambda: _copied(call, fields))
        self._work.ask()
        return answer


def _copied(call: Call, fields: Mapping[str, Any]) -> Answer:
    with call.write() as session:
        row = new_group(call, fields, "", ZONE)
        copy_group(call, session, row, fields.get("source_group_id"), fields.get("group_snapshot_id"))
    return json_answer({"group": summary(row)}, 202)


def _delete(call: Call) -> Answer:
    with_volumes = is_true(call.body(_DELETE)["delete"].get("delete-volumes", False))
    with call.write() as session:
        settle(session)
        row = group_of(call, session, call.path["group_id"], "group:delete")
        for volume in check_deletable(session, row, with_volumes=with_volumes):
            volume.previous_status, volume.status = volume.status, "deleting"
        row.status, row.host = "deleting", call.site.host
        session.flush()
        settle(session)
    return Answer(202)


def _reset(call: Call) -> Answer:
    status = call.body(_RESET)["reset_status"]["status"].lower()
    if status not in STATUSES:
        raise BadRequest(
            f"Invalid Group Status: Group status: {status} is invalid, valid status are: {STATUSES}."
        )
    with call.write() as session:
        row = group_of(call, session, call.path["group_id"], "group:reset_status")
        row.status, row.updated_us = status, call.site.now_us()
    return Answer(202)


def _replicate(call: Call) -> Answer:
    with call.read() as session:
        group_of(call, session, call.path["group_id"], "group:enable_replication")
    raise Absent("Backends replicate no groups.")


_ACTIONS: Final = {
    "delete": (_delete, SINCE),
    "reset_status": (_reset, RESET_SINCE),
    **dict.fromkeys(("enable_replication", "disable_replication"), (_replicate, REPLICATION_SINCE)),
    "failover_replication": (_replicate, REPLICATION_SINCE),
    "list_replication_targets": (_replicate, REPLICATION_SINCE),
}


def no_consistency_groups(_call: Call) -> Answer:
    """Upstream's groups of before 3.13, which it keeps for those that were made then; here are none."""
    raise Absent("Consistency groups gave way to groups: /v3/groups.")


def routes(work: GroupWork) -> list[tuple[Any, ...]]:
    """What answers them, and requests for what groups were before."""
    actions = _Actions(work)
    legacy = [
        (method, path, no_consistency_groups)
        for collection in ("consistencygroups", "cgsnapshots")
        for path in (f"/v3/{collection}", f"/v3/{collection}/{{ident}}")
        for method in ("GET", "POST", "PUT", "DELETE")
    ]
    return [
        *legacy,
        ("POST", "/v3/groups/action", actions.create_from_source, SOURCES_SINCE),
        ("POST", "/v3/groups/{group_id}/action", actions.act, SINCE),
    ]
