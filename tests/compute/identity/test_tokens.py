"""Tokens: who gets one, what is in it, and that it is worth nothing the moment it should not be."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from compute.identity.settings import Settings
from tests.compute.identity.cloud import Cloud, MovedClock, started


async def test_a_password_proves_who_one_is(cloud: Cloud) -> None:
    project = await cloud.make("project")
    user = await cloud.user("member", project=project["id"])
    named = {"name": user["name"], "domain": {"name": "Default"}, "password": user["password"]}
    reply = await cloud.log_in({"project": {"id": project["id"]}}, password={"user": named})
    assert reply.status == 201
    token = reply["token"]
    assert token["methods"] == ["password"]
    assert token["project"] == {
        "id": project["id"],
        "name": project["name"],
        "domain": {"id": "default", "name": "Default"},
    }
    assert [role["name"] for role in token["roles"]] == ["member", "reader"]  # the implied one, too
    types = {entry["type"]: entry["endpoints"] for entry in token["catalog"]}
    assert {e["url"] for e in types["object-store"]} == {f"http://store/v1/AUTH_{project['id']}"}
    shown = await cloud.validate(reply.headers["X-Subject-Token"])
    assert shown.status == 200
    assert shown["token"] == token
    bare = await cloud.call(
        "GET", "/auth/tokens?nocatalog", X_Subject_Token=reply.headers["X-Subject-Token"]
    )
    assert bare["token"] == {name: value for name, value in token.items() if name != "catalog"}


@pytest.mark.parametrize(
    ("auth", "status", "said"),
    [
        ({}, 400, "identity"),
        ({"identity": {}}, 400, "methods"),
        ({"identity": {"methods": []}}, 400, "methods"),
        ({"identity": {"methods": ["password"]}}, 400, "password"),
        ({"identity": {"methods": ["password"], "password": {"user": {}}}}, 400, "password"),
        (
            {"identity": {"methods": ["password"], "password": {"user": {"password": "x"}}}},
            400,
            "id or name",
        ),
        ({"identity": {"methods": ["saml2"], "saml2": {}}}, 401, "unsupported"),
        ({"identity": {"methods": ["token"], "token": {"id": "nonsense"}}}, 404, "Failed"),
        ({"identity": {"methods": "password"}}, 400, "methods"),
    ],
)
async def test_what_makes_no_sense_is_refused(cloud: Cloud, auth: Any, status: int, said: str) -> None:
    reply = await cloud.call("POST", "/auth/tokens", {"auth": auth}, token="")
    assert reply.status == status, reply
    assert said in reply.message


async def test_strangers_learn_nothing(cloud: Cloud) -> None:
    user = await cloud.user()
    wrong = await cloud.log_in(password={"user": {"id": user["id"], "password": "wrong"}})
    nobody = await cloud.log_in(password={"user": {"id": "nobody", "password": "wrong"}})
    assert (wrong.status, wrong.body) == (nobody.status, nobody.body)
    assert wrong.status == 401
    assert wrong.headers["WWW-Authenticate"].startswith("Keystone uri=")
    for token in ("", "nonsense", "gAAAAA" + "x" * 100):
        assert (await cloud.call("GET", "/users", token=token)).status == 401


async def test_scopes(cloud: Cloud) -> None:
    project = await cloud.make("project")
    other = await cloud.make("project")
    user = await cloud.user("reader", project=project["id"])
    refused = await cloud.log_in(
        {"project": {"id": other["id"]}}, password={"user": {k: user[k] for k in ("id", "password")}}
    )
    assert refused.status == 401
    unscoped = await cloud.token_of(user)
    assert "roles" not in (await cloud.validate(unscoped))["token"]
    scoped = await cloud.log_in({"project": {"id": project["id"]}}, token={"id": unscoped})
    assert scoped.status == 201
    assert scoped["token"]["methods"] == ["token", "password"]
    before, after = (await cloud.validate(unscoped))["token"], scoped["token"]
    assert after["expires_at"] == before["expires_at"]  # a chain of tokens does not live longer
    assert after["audit_ids"][1] == before["audit_ids"][0]
    admin = await cloud.user("admin", system=True)
    system = await cloud.token_of(admin, {"system": {"all": True}})
    assert (await cloud.validate(system))["token"]["system"] == {"all": True}
    assert (await cloud.call("GET", "/users", token=system)).status == 200


async def _tokens(cloud: Cloud) -> tuple[dict[str, Any], dict[str, Any], str]:
    project = await cloud.make("project")
    user = await cloud.user("member", project=project["id"])
    return project, user, await cloud.token_of(user, {"project": {"id": project["id"]}})


async def _revoke(cloud: Cloud, _project: Any, _user: Any, token: str) -> None:
    await cloud.ok("DELETE", "/auth/tokens", X_Subject_Token=token)


async def _disable_user(cloud: Cloud, _project: Any, user: Any, _token: str) -> None:
    await cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"enabled": False}})


async def _disable_and_enable_user(cloud: Cloud, project: Any, user: Any, token: str) -> None:
    await _disable_user(cloud, project, user, token)
    await cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"enabled": True}})


async def _new_password(cloud: Cloud, _project: Any, user: Any, _token: str) -> None:
    await cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"password": "another"}})


async def _disable_project(cloud: Cloud, project: Any, _user: Any, _token: str) -> None:
    await cloud.ok("PATCH", f"/projects/{project['id']}", {"project": {"enabled": False}})


async def _delete_project(cloud: Cloud, project: Any, _user: Any, _token: str) -> None:
    await cloud.ok("DELETE", f"/projects/{project['id']}")


async def _take_role(cloud: Cloud, project: Any, user: Any, _token: str) -> None:
    role = await cloud.role_id("member")
    await cloud.ok("DELETE", f"/projects/{project['id']}/users/{user['id']}/roles/{role}")


async def _delete_user(cloud: Cloud, _project: Any, user: Any, _token: str) -> None:
    await cloud.ok("DELETE", f"/users/{user['id']}")


@pytest.mark.parametrize(
    "end",
    [
        _revoke,
        _disable_user,
        _disable_and_enable_user,
        _new_password,
        _disable_project,
        _delete_project,
        _take_role,
        _delete_user,
    ],
)
async def test_a_token_ends_at_once_in_every_process(
    cloud: Cloud, database: str, tmp_path: Path, end: Any
) -> None:
    """The other process has the token in its cache, and is told nothing but through the database."""
    async with started(tmp_path, database, clock=cloud.clock) as other:
        project, user, token = await _tokens(cloud)
        assert (await other.validate(token)).status == 200
        assert (await cloud.validate(token)).status == 200
        await end(cloud, project, user, token)
        assert (await other.validate(token)).status == 404
        assert (await cloud.validate(token)).status == 404
        assert (await other.call("GET", "/auth/projects", token=token)).status == 401


async def test_a_token_expires(cloud: Cloud) -> None:
    _, _, token = await _tokens(cloud)
    assert (await cloud.validate(token)).status == 200
    cloud.clock.ahead_s += 3601
    assert (await cloud.call("GET", "/auth/projects", token=token)).status == 401


async def test_rotated_keys_reach_every_process(cloud: Cloud, database: str, tmp_path: Path) -> None:
    async with started(tmp_path, database) as other:
        _, user, old = await _tokens(cloud)
        cloud.identity.keys.rotate(cloud.identity.randomness, cloud.identity.now_us())
        new = await cloud.token_of(user)
        assert (await other.validate(new)).status == 200
        assert (await other.validate(old)).status == 200  # its key is kept for a while
        for _ in range(2):
            cloud.identity.keys.rotate(cloud.identity.randomness, cloud.identity.now_us())
        for process in (cloud, other):
            assert (await process.call("GET", "/auth/projects", token=old)).status == 401


async def test_a_token_is_its_users_to_see(cloud: Cloud) -> None:
    _, _, mine = await _tokens(cloud)
    _, _, theirs = await _tokens(cloud)
    assert (await cloud.call("GET", "/auth/tokens", token=mine, X_Subject_Token=mine)).status == 200
    assert (await cloud.call("GET", "/auth/tokens", token=mine, X_Subject_Token=theirs)).status == 403
    assert (
        await cloud.call("DELETE", "/auth/tokens", token=mine, X_Subject_Token=theirs)
    ).status == 403
    assert (await cloud.validate(theirs)).status == 200


async def test_an_account_is_locked_by_wrong_passwords_to_all_processes(
    database: str, tmp_path: Path
) -> None:
    settings, clock = Settings(lockout_attempts=3, lockout_s=60), MovedClock()
    async with (
        started(tmp_path, database, settings, clock) as one,
        started(tmp_path, database, settings, clock) as other,
    ):
        user = await one.user()
        right, wrong = (
            {"user": {"id": user["id"], "password": p}} for p in (user["password"], "wrong")
        )
        for cloud in (one, other, one):
            assert (await cloud.log_in(password=wrong)).status == 401
        locked = await other.log_in(password=right)
        assert locked.status == 401
        assert "locked" in locked.message
        clock.ahead_s += 61
        assert (await other.log_in(password=right)).status == 201


async def test_many_ask_at_once(cloud: Cloud) -> None:
    """Requests that share a look at the database all get their own answer."""
    tokens = [(await _tokens(cloud))[2] for _ in range(3)]
    replies = await asyncio.gather(*(cloud.validate(tokens[n % 3]) for n in range(60)))
    assert all(reply.status == 200 for reply in replies)
    ids = [reply["token"]["audit_ids"] for reply in replies]
    assert ids[0] == ids[3] != ids[1]
