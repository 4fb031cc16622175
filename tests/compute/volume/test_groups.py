"""Groups and their snapshots over HTTP; the work at the backends in rounds that a test begins."""

from typing import Any

import pytest

from compute.volume.group_work import GroupWork
from compute.volume.groups import standing
from tests.compute.volume.backend import Remembering
from tests.compute.volume.cloud import Volumes
from tests.compute.volume.rows import add_volume, type_id
from tests.compute.volume.test_services import _site

GIB = 1 << 30
Body = dict[str, Any]


class Groups:
    """A host with a backend, and a project with a group on it."""

    def __init__(self, volumes: Volumes, project: str) -> None:
        self.volumes = volumes
        self.project = project
        self.backend = Remembering()
        self.site = _site(volumes, "h1")
        self.database = volumes.cloud.identity.database
        self.kind = type_id(self.database)

    async def round(self) -> None:
        """As another process of this host would do it: nothing is remembered between two."""
        await GroupWork(self.site, {"ring": self.backend.driver()}).round()

    async def make(self, **fields: Any) -> Body:
        """A group."""
        body = {"group_type": "together", "volume_types": [self.kind], **fields}
        made: Body = (await self.volumes.ok("POST", "/groups", {"group": body}))["group"]
        return made

    def member(self, ident: str, group_id: str | None = None, **fields: Any) -> None:
        """A volume on the backend."""
        self.backend.volumes[ident] = ""
        known = {"host": "h1", "backend": "ring", "volume_type_id": self.kind, "group_id": group_id}
        add_volume(self.database, ident, self.project, **{**known, **fields})

    async def show(self, group_id: str) -> Body:
        """A group with its volumes."""
        reply = await self.volumes.ok("GET", f"/groups/{group_id}?list_volume=True")
        found: Body = reply["group"]
        return found

    async def act(self, group_id: str, action: str, body: Any, status: int = 202) -> None:
        """An action on a group."""
        where = f"/groups/{group_id}/action"
        assert (await self.volumes.call("POST", where, {action: body})).status == status

    async def snapshot(self, group_id: str, name: str = "") -> Body:
        """A snapshot of a group, begun."""
        body = {"group_snapshot": {"group_id": group_id, "name": name}}
        made: Body = (await self.volumes.ok("POST", "/group_snapshots", body))["group_snapshot"]
        return made

    async def snapshot_status(self, ident: str) -> str:
        """How a snapshot of a group stands."""
        reply = await self.volumes.ok("GET", f"/group_snapshots/{ident}")
        return str(reply["group_snapshot"]["status"])


@pytest.fixture
async def groups(volumes: Volumes) -> Groups:
    """A host, and a type of groups."""
    await volumes.ok("POST", "/group_types", {"group_type": {"name": "together"}})
    project = (await volumes.cloud.ok("GET", "/projects?name=admin"))["projects"][0]["id"]
    return Groups(volumes, project)


async def test_a_group_is_made_shown_listed_changed_and_deleted(groups: Groups) -> None:
    made = await groups.make(name=" g ", description="d")
    assert made["name"] == "g"
    shown = await groups.show(made["id"])
    assert (shown["status"], shown["volume_types"]) == ("available", [groups.kind])
    assert (shown["availability_zone"], shown["replication_status"]) == ("nova", "disabled")
    assert shown["project_id"] == groups.project
    groups.member("v1")
    await groups.volumes.ok("PUT", f"/groups/{made['id']}", {"group": {"add_volumes": "v1"}})
    assert (await groups.show(made["id"]))["volumes"] == ["v1"]
    body = {"group": {"remove_volumes": "v1", "name": "h"}}
    await groups.volumes.ok("PUT", f"/groups/{made['id']}", body)
    shown = await groups.show(made["id"])
    assert (shown["volumes"], shown["name"], shown["description"]) == ([], "h", "d")
    listed = (await groups.volumes.ok("GET", "/groups/detail?name=h"))["groups"]
    assert [group["id"] for group in listed] == [made["id"]]
    assert (await groups.volumes.ok("GET", "/groups?name=g"))["groups"] == []
    _, stranger = await groups.volumes.user("member")
    await groups.volumes.refused(404, "GET", f"/groups/{made['id']}", token=stranger)
    await groups.act(made["id"], "delete", {"delete-volumes": False})
    await groups.volumes.refused(404, "GET", f"/groups/{made['id']}")


async def test_bad_requests_change_nothing(groups: Groups) -> None:
    made = await groups.make()
    other = (await groups.volumes.type("other"))["id"]
    groups.member("v1")
    groups.member("v2", volume_type_id=other)
    groups.member("v3", status="error")
    for fields, status in (
        ({"group_type": "none"}, 404),
        ({"volume_types": ["none"]}, 404),
        ({"volume_types": []}, 400),
        ({"availability_zone": "moon"}, 400),
        ({"colour": "red"}, 400),
    ):
        body = {"group": {"group_type": "together", "volume_types": [groups.kind], **fields}}
        await groups.volumes.refused(status, "POST", "/groups", body)
    wrong: list[Body] = [
        {},
        {"name": None},
        {"add_volumes": "v1", "remove_volumes": "v1"},
        {"add_volumes": "v1,v2"},
        {"add_volumes": "v3"},
        {"add_volumes": "nothing"},
        {"remove_volumes": "v1"},
    ]
    for change in wrong:
        await groups.volumes.refused(400, "PUT", f"/groups/{made['id']}", {"group": change})
    assert (await groups.show(made["id"]))["volumes"] == []
    await groups.act(made["id"], "dance", {}, 400)
    await groups.act(made["id"], "enable_replication", {}, 501)
    await groups.act(made["id"], "reset_status", {"status": "merry"}, 400)
    await groups.volumes.refused(501, "GET", "/consistencygroups")
    limit = {"quota_set": {"groups": 1}}
    await groups.volumes.ok("PUT", f"/os-quota-sets/{groups.project}", limit)
    body = {"group": {"group_type": "together", "volume_types": [groups.kind]}}
    assert await groups.volumes.refused(413, "POST", "/groups", body) == (
        "Maximum number of groups allowed (1) exceeded"
    )


async def test_a_status_that_an_operator_sets_stays(groups: Groups) -> None:
    made = await groups.make()
    snapshot = await groups.snapshot(made["id"])
    await groups.round()
    assert await groups.snapshot_status(snapshot["id"]) == "available"
    where = f"/group_snapshots/{snapshot['id']}/action"
    for status in ("creating", "error", "available"):
        await groups.act(made["id"], "reset_status", {"status": status})
        await groups.volumes.ok("POST", where, {"reset_status": {"status": status}})
        await groups.round()
        assert (await groups.show(made["id"]))["status"] == status
        assert await groups.snapshot_status(snapshot["id"]) == status


async def test_a_group_snapshot_and_groups_from_it_and_from_a_group(groups: Groups) -> None:
    made = await groups.make()
    for ident in ("v1", "v2"):
        groups.member(ident, made["id"])
    snapshot = await groups.snapshot(made["id"], "s")
    assert await groups.snapshot_status(snapshot["id"]) == "creating"
    await groups.round()
    assert await groups.snapshot_status(snapshot["id"]) == "available"
    assert sorted(groups.backend.snapshots.values()) == ["v1", "v2"]
    await groups.act(made["id"], "delete", {"delete-volumes": True}, 400)  # it has a snapshot
    for source in ({"group_snapshot_id": snapshot["id"]}, {"source_group_id": made["id"]}):
        body = {"create-from-src": {**source, "name": "copy"}}
        copy = (await groups.volumes.ok("POST", "/groups/action", body))["group"]
        assert (await groups.show(copy["id"]))["status"] == "creating"
        await groups.round()
        shown = await groups.show(copy["id"])
        assert (shown["status"], len(shown["volumes"])) == ("available", 2)
        assert source.items() <= shown.items()
        assert {groups.backend.volumes[ident].split()[1] for ident in shown["volumes"]} == {str(GIB)}
        await groups.act(copy["id"], "delete", {"delete-volumes": False}, 400)
        await groups.act(copy["id"], "delete", {"delete-volumes": True})
        await groups.round()
        await groups.volumes.refused(404, "GET", f"/groups/{copy['id']}")
    assert sorted(groups.backend.volumes) == ["v1", "v2"]
    await groups.volumes.ok("DELETE", f"/group_snapshots/{snapshot['id']}")
    await groups.round()
    await groups.volumes.refused(404, "GET", f"/group_snapshots/{snapshot['id']}")
    assert groups.backend.snapshots == {}
    use = (await groups.volumes.ok("GET", f"/os-quota-sets/{groups.project}?usage=True"))["quota_set"]
    assert [use[name]["in_use"] for name in ("groups", "volumes", "snapshots")] == [1, 2, 0]


async def test_what_is_over_a_limit_leaves_nothing_half_done(groups: Groups) -> None:
    made = await groups.make()
    for ident in ("v1", "v2"):
        groups.member(ident, made["id"])
    limits = {"quota_set": {"snapshots": 1, "volumes": 3}}
    await groups.volumes.ok("PUT", f"/os-quota-sets/{groups.project}", limits)
    body = {"group_snapshot": {"group_id": made["id"]}}
    await groups.volumes.refused(413, "POST", "/group_snapshots", body)
    source = {"create-from-src": {"source_group_id": made["id"]}}
    await groups.volumes.refused(413, "POST", "/groups/action", source)
    assert (await groups.volumes.ok("GET", "/group_snapshots"))["group_snapshots"] == []
    assert len((await groups.volumes.ok("GET", "/groups"))["groups"]) == 1
    use = (await groups.volumes.ok("GET", f"/os-quota-sets/{groups.project}?usage=True"))["quota_set"]
    assert [use[name]["in_use"] for name in ("groups", "volumes", "snapshots")] == [1, 2, 0]


@pytest.mark.parametrize("verb", ["snapshot", "clone", "create_from_snapshot", "delete"])
async def test_a_verb_that_fails_is_told_and_what_it_left_can_be_deleted(
    groups: Groups, verb: str
) -> None:
    made = await groups.make()
    groups.member("v1", made["id"])
    groups.backend.failing.add(verb)
    snapshot = await groups.snapshot(made["id"])
    await groups.round()
    copies = []
    if verb == "snapshot":
        assert await groups.snapshot_status(snapshot["id"]) == "error"
    else:
        key = "group_snapshot_id" if verb == "create_from_snapshot" else "source_group_id"
        source = snapshot["id"] if verb == "create_from_snapshot" else made["id"]
        body = {"create-from-src": {key: source}}
        copies.append((await groups.volumes.ok("POST", "/groups/action", body))["group"]["id"])
        await groups.round()
        status = (await groups.show(copies[0]))["status"]
        assert status == ("available" if verb == "delete" else "error")
    for ident in copies if verb == "delete" else []:
        await groups.act(ident, "delete", {"delete-volumes": True})
        await groups.round()
        assert (await groups.show(ident))["status"] == "error"
    messages = (await groups.volumes.ok("GET", "/messages"))["messages"]
    assert len(messages) == 1
    groups.backend.failing.clear()
    await groups.volumes.ok("DELETE", f"/group_snapshots/{snapshot['id']}")
    await groups.round()
    for ident in [*copies, made["id"]]:
        await groups.act(ident, "delete", {"delete-volumes": True})
    await groups.round()
    assert (await groups.volumes.ok("GET", "/groups"))["groups"] == []
    assert (groups.backend.volumes, groups.backend.snapshots) == ({}, {})


async def test_a_store_that_is_away_is_waited_for_and_other_hosts_work_is_theirs(
    groups: Groups,
) -> None:
    made = await groups.make()
    groups.member("v1", made["id"])
    groups.member("v2", made["id"], host="h2")
    groups.backend.away.add("snapshot")
    snapshot = await groups.snapshot(made["id"])
    await groups.round()
    assert await groups.snapshot_status(snapshot["id"]) == "creating"
    groups.backend.away.clear()
    await groups.round()
    assert list(groups.backend.snapshots.values()) == ["v1"]
    assert await groups.snapshot_status(snapshot["id"]) == "creating"
    groups.site = _site(groups.volumes, "h2")
    await groups.round()
    assert await groups.snapshot_status(snapshot["id"]) == "available"


def test_how_a_group_stands() -> None:
    for status, members, found in (
        ("creating", ["creating", "available"], "creating"),
        ("creating", ["available"], "available"),
        ("creating", ["creating", "error"], "error"),
        ("deleting", ["deleting"], "deleting"),
        ("deleting", ["error_deleting", "deleting"], "error"),
        ("deleting", [], None),
        ("error", ["available"], "error"),
    ):
        assert standing(status, members) == found, (status, members)
