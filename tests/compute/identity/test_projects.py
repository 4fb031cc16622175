"""Projects and domains: trees, names that are unique whoever races, tags, what can't be removed."""

import asyncio
from pathlib import Path
from typing import Any

from compute.identity.settings import Settings
from tests.compute.identity.cloud import Cloud, started


async def test_a_name_is_given_once_however_many_ask(
    cloud: Cloud, database: str, tmp_path: Path
) -> None:
    async with started(tmp_path, database) as other:
        bodies = [
            ("/projects", {"project": {"name": "raced"}}),
            ("/users", {"user": {"name": "raced", "domain_id": "default"}}),
            ("/domains", {"domain": {"name": "raced"}}),
            ("/roles", {"role": {"name": "raced"}}),
        ]
        for path, body in bodies:
            replies = await asyncio.gather(
                *(process.call("POST", path, body) for process in (cloud, other) * 4)
            )
            assert sorted(reply.status for reply in replies) == [201] + [409] * 7, path
            assert all(r.message.startswith("Conflict occurred") for r in replies if r.status == 409)


async def test_trees(cloud: Cloud) -> None:
    top = await cloud.make("project")
    child = await cloud.make("project", parent_id=top["id"])
    leaf = await cloud.make("project", parent_id=child["id"])
    assert (top["parent_id"], child["domain_id"]) == ("default", "default")
    shown = await cloud.ok("GET", f"/projects/{leaf['id']}?parents_as_ids")
    assert shown["project"]["parents"] == {child["id"]: {top["id"]: {"default": None}}}
    shown = await cloud.ok("GET", f"/projects/{top['id']}?subtree_as_ids")
    assert shown["project"]["subtree"] == {child["id"]: {leaf["id"]: None}}
    refused = await cloud.call("DELETE", f"/projects/{child['id']}")
    assert (refused.status, "not a leaf" in refused.message) == (403, True)
    disabling = {"project": {"enabled": False}}
    assert (await cloud.call("PATCH", f"/projects/{top['id']}", disabling)).status == 403
    for project in (leaf, child, top):
        await cloud.ok("DELETE", f"/projects/{project['id']}")
    assert (await cloud.call("GET", f"/projects/{top['id']}")).status == 404


async def test_a_tree_has_a_greatest_depth(database: str, tmp_path: Path) -> None:
    async with started(tmp_path, database, Settings(tree_depth_max=2)) as cloud:
        top = await cloud.make("project")
        child = await cloud.make("project", parent_id=top["id"])
        body = {"project": {"name": "too deep", "parent_id": child["id"]}}
        refused = await cloud.call("POST", "/projects", body)
        assert (refused.status, "Max hierarchy depth" in refused.message) == (403, True)


async def test_a_domain_goes_with_everything_in_it(cloud: Cloud) -> None:
    domain = await cloud.make("domain")
    top = await cloud.make("project", domain_id=domain["id"])
    await cloud.make("project", domain_id=domain["id"], parent_id=top["id"])
    user = await cloud.make("user", domain_id=domain["id"])
    group = await cloud.make("group", domain_id=domain["id"])
    role = await cloud.role_id("member")
    await cloud.ok("PUT", f"/projects/{top['id']}/users/{user['id']}/roles/{role}")
    assert (await cloud.call("DELETE", f"/domains/{domain['id']}")).status == 403
    await cloud.ok("PATCH", f"/domains/{domain['id']}", {"domain": {"enabled": False}})
    await cloud.ok("DELETE", f"/domains/{domain['id']}")
    for path in (f"/users/{user['id']}", f"/groups/{group['id']}", f"/projects/{top['id']}"):
        assert (await cloud.call("GET", path)).status == 404, path
    left = (await cloud.ok("GET", "/role_assignments"))["role_assignments"]
    assert not [row for row in left if row.get("user", {}).get("id") == user["id"]]


async def test_tags(cloud: Cloud) -> None:
    one = await cloud.make("project", tags=["blue", "red"])
    two = await cloud.make("project", tags=["blue"])
    wanted = {
        "tags=blue,red": {one["id"]},
        "tags-any=red,green": {one["id"]},
        "tags=blue": {one["id"], two["id"]},
        "tags=blue&not-tags=red": {two["id"]},
    }
    for query, ids in wanted.items():
        found = (await cloud.ok("GET", f"/projects?{query}"))["projects"]
        assert {row["id"] for row in found} == ids, query
    assert (await cloud.call("PUT", f"/projects/{one['id']}/tags/a,b")).status == 400
    await cloud.ok("DELETE", f"/projects/{one['id']}/tags/red")
    assert (await cloud.call("GET", f"/projects/{one['id']}/tags/red")).status == 404
    assert (await cloud.ok("GET", f"/projects/{one['id']}/tags"))["tags"] == ["blue"]


async def test_a_bad_body_changes_nothing(cloud: Cloud) -> None:
    project = await cloud.make("project")
    for fields in (
        {"name": ""},
        {"name": 5},
        {"enabled": "yes"},
        {"tags": "x"},
        {"name": "x" * 65},
        {},
    ):
        reply = await cloud.call("PATCH", f"/projects/{project['id']}", {"project": fields})
        assert reply.status == 400, fields
    bodies: tuple[Any, ...] = (None, [], {"x": {}}, {"project": []})
    for body in bodies:
        assert (await cloud.call("POST", "/projects", body)).status == 400, body
    assert (await cloud.ok("GET", f"/projects/{project['id']}"))["project"] == project
