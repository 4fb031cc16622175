"""Users, groups and roles: passwords, and what every form of assignment comes to."""

from pathlib import Path
from typing import Any

import pytest

from compute.identity.settings import Settings
from tests.compute.identity.cloud import Cloud, MovedClock, started

DAY_S = 86_400


async def test_users_change_their_password_by_the_old_one(database: str, tmp_path: Path) -> None:
    settings = Settings(password_history=2, password_regex=r"^.{6,}$", password_regex_said="6 at least")
    async with started(tmp_path, database, settings) as cloud:
        user = await cloud.user()
        token = await cloud.token_of(user)
        path = f"/users/{user['id']}/password"

        async def change(old: str, new: str) -> int:
            body = {"user": {"original_password": old, "password": new}}
            return (await cloud.call("POST", path, body, token="")).status

        assert await change("wrong", "second password") == 401
        assert await change(user["password"], "short") == 400
        assert (await cloud.validate(token)).status == 200
        assert await change(user["password"], "second password") == 204
        assert (await cloud.validate(token)).status == 404
        assert await change("second password", user["password"]) == 400  # it was used before
        assert await change("second password", "third password") == 204
        assert await cloud.token_of({**user, "password": "third password"})


async def test_an_expired_password_can_only_be_changed(database: str, tmp_path: Path) -> None:
    settings, clock = Settings(password_days=10, token_s=100 * DAY_S), MovedClock()
    async with started(tmp_path, database, settings, clock) as cloud:
        user = await cloud.user()
        clock.ahead_s += 11 * DAY_S
        named = {"id": user["id"], "password": user["password"]}
        reply = await cloud.log_in(password={"user": named})
        assert (reply.status, "expired" in reply.message) == (401, True)
        body = {"user": {"original_password": user["password"], "password": "new one"}}
        await cloud.ok("POST", f"/users/{user['id']}/password", body, token="")
        assert await cloud.token_of({**user, "password": "new one"})


async def _roles(cloud: Cloud, user: Any, project_id: str) -> set[str]:
    named = {"id": user["id"], "password": user["password"]}
    reply = await cloud.log_in({"project": {"id": project_id}}, password={"user": named})
    return {role["name"] for role in reply["token"]["roles"]} if reply.status == 201 else set()


async def test_groups_inheritance_and_implication(cloud: Cloud) -> None:
    domain = await cloud.make("domain")
    top = await cloud.make("project", domain_id=domain["id"])
    leaf = await cloud.make("project", domain_id=domain["id"], parent_id=top["id"])
    user, group = await cloud.user(), await cloud.make("group")
    prior, implied = await cloud.make("role"), await cloud.make("role")
    await cloud.ok("PUT", f"/groups/{group['id']}/users/{user['id']}")
    assert await _roles(cloud, user, leaf["id"]) == set()
    where = f"/OS-INHERIT/domains/{domain['id']}/groups/{group['id']}/roles/{prior['id']}"
    await cloud.ok("PUT", f"{where}/inherited_to_projects")
    assert await _roles(cloud, user, leaf["id"]) == {prior["name"]}
    await cloud.ok("PUT", f"/roles/{prior['id']}/implies/{implied['id']}")
    assert await _roles(cloud, user, top["id"]) == {prior["name"], implied["name"]}
    rows = (await cloud.ok("GET", f"/role_assignments?effective&user.id={user['id']}"))[
        "role_assignments"
    ]
    found = {(row["role"]["id"], row["scope"]["project"]["id"]) for row in rows}
    assert found == {(r["id"], p["id"]) for r in (prior, implied) for p in (top, leaf)}
    circle = await cloud.call("PUT", f"/roles/{implied['id']}/implies/{prior['id']}")
    assert circle.status == 400
    admin = await cloud.role_id("admin")
    assert (await cloud.call("PUT", f"/roles/{prior['id']}/implies/{admin}")).status == 403
    await cloud.ok("DELETE", f"/groups/{group['id']}/users/{user['id']}")
    assert await _roles(cloud, user, leaf["id"]) == set()


async def test_what_is_inherited_is_not_for_the_project_itself(cloud: Cloud) -> None:
    top = await cloud.make("project")
    leaf = await cloud.make("project", parent_id=top["id"])
    user = await cloud.user()
    role = await cloud.role_id("reader")
    where = f"/OS-INHERIT/projects/{top['id']}/users/{user['id']}/roles/{role}/inherited_to_projects"
    for _ in range(2):  # a second time changes nothing
        await cloud.ok("PUT", where)
    assert await _roles(cloud, user, top["id"]) == set()
    assert await _roles(cloud, user, leaf["id"]) == {"reader"}
    await cloud.ok("DELETE", where)
    assert (await cloud.call("DELETE", where)).status == 404


CALLS = (
    ("GET", "/users", None),
    ("POST", "/users", {"user": {"name": "made"}}),
    ("GET", "/projects", None),
    ("POST", "/projects", {"project": {"name": "made"}}),
    ("GET", "/groups", None),
    ("GET", "/domains", None),
    ("POST", "/domains", {"domain": {"name": "made"}}),
    ("GET", "/roles", None),
    ("GET", "/role_assignments", None),
    ("GET", "/services", None),
    ("GET", "/regions", None),
)
ALLOWED = {
    ("reader", "project"): {"GET /regions"},
    ("manager", "project"): {"GET /regions"},
    ("reader", "domain"): {
        "GET /users",
        "GET /projects",
        "GET /groups",
        "GET /domains",
        "GET /role_assignments",
        "GET /regions",
    },
    ("manager", "domain"): {
        "GET /users",
        "POST /users",
        "GET /projects",
        "POST /projects",
        "GET /groups",
        "GET /domains",
        "GET /roles",
        "GET /role_assignments",
        "GET /regions",
    },
    ("reader", "system"): {f"{m} {p}" for m, p, _ in CALLS if m == "GET"},
    ("admin", "project"): {f"{m} {p}" for m, p, _ in CALLS},
}


@pytest.mark.parametrize(("role", "scope"), ALLOWED)
async def test_what_each_role_may(cloud: Cloud, role: str, scope: str) -> None:
    domain = await cloud.make("domain")
    project = await cloud.make("project", domain_id=domain["id"])
    ids = {"project": {"project": project["id"]}, "domain": {"domain": domain["id"]}, "system": {}}[
        scope
    ]
    user = await cloud.user(role, **ids, system=scope == "system")
    target = {"all": True} if scope == "system" else {"id": next(iter(ids.values()))}
    token = await cloud.token_of(user, {scope: target})
    may = set()
    for method, path, fields in CALLS:
        noun, body = path[1:-1], fields
        if fields and noun != "domain":
            body = {noun: {**fields[noun], "domain_id": domain["id"]}}
        reply = await cloud.call(method, path, body, token=token)
        assert reply.status in (200, 201, 403), (method, path, reply)
        if reply.status != 403:
            may.add(f"{method} {path}")
        if scope == "domain" and path in ("/users", "/projects") and method == "GET":
            assert all(row["domain_id"] == domain["id"] for row in reply[path[1:]])
    assert may == ALLOWED[role, scope]


async def test_an_operators_policy_file_goes_before_the_defaults(database: str, tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "identity.yaml").write_text('"identity:list_services": "role:reader"\n')
    async with started(tmp_path, database) as cloud:
        project = await cloud.make("project")
        token = await cloud.token_of(
            await cloud.user("reader", project=project["id"]), {"project": {"id": project["id"]}}
        )
        assert (await cloud.call("GET", "/services", token=token)).status == 200
        assert (await cloud.call("GET", "/endpoints", token=token)).status == 403
