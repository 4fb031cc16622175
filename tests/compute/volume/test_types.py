"""Volume types, extra specs, access, encryption and QoS over HTTP."""

import asyncio

import pytest

from tests.compute.volume.cloud import Volumes

NOBODY = "0" * 32


async def test_a_type_is_made_shown_listed_changed_and_deleted(volumes: Volumes) -> None:
    made = await volumes.type("fast", description="of flash", extra_specs={"a": "b"})
    assert made["os-volume-type-access:is_public"] is True
    assert "qos_specs_id" not in made
    where = f"/types/{made['id']}"
    shown = (await volumes.ok("GET", where))["volume_type"]
    assert shown == {**made, "qos_specs_id": None}
    names = [kind["name"] for kind in (await volumes.ok("GET", "/types"))["volume_types"]]
    assert names == ["fast", "__DEFAULT__"]
    listed = await volumes.ok("GET", "/types?extra_specs={'a':'b'}")
    assert [kind["name"] for kind in listed["volume_types"]] == ["fast"]
    assert (await volumes.ok("GET", "/types?extra_specs={'a':'c'}"))["volume_types"] == []
    changed = {"volume_type": {"name": "faster", "is_public": False}}
    assert (await volumes.ok("PUT", where, changed))["volume_type"]["name"] == "faster"
    names = [kind["name"] for kind in (await volumes.ok("GET", "/types"))["volume_types"]]
    assert names == ["__DEFAULT__"]
    listed = await volumes.ok("GET", "/types?is_public=None&sort=name:asc")
    assert [kind["name"] for kind in listed["volume_types"]] == ["__DEFAULT__", "faster"]
    assert (await volumes.ok("DELETE", where)).status == 202
    assert await volumes.refused(404, "GET", where) == (f"Volume type {made['id']} could not be found.")


async def test_bad_types_are_refused_and_change_nothing(volumes: Volumes) -> None:
    await volumes.type("one")
    for fields in (
        {"name": ""},
        {"name": "  "},
        {"name": "x" * 256},
        {"name": "x", "colour": "red"},
        {"name": "x", "description": "y" * 256},
        {"name": "x", "extra_specs": {"a": 1}},
        {"name": "x", "os-volume-type-access:is_public": "perhaps"},
        {"description": "no name"},
    ):
        await volumes.refused(400, "POST", "/types", {"volume_type": fields})
    await volumes.refused(400, "POST", "/types", {"type": {"name": "x"}})
    assert "already exists" in await volumes.refused(
        409, "POST", "/types", {"volume_type": {"name": "one"}}
    )
    default = (await volumes.ok("GET", "/types/default"))["volume_type"]
    assert default["name"] == "__DEFAULT__"
    assert await volumes.refused(400, "DELETE", f"/types/{default['id']}") == (
        f"The volume type {default['id']} is a default volume type and cannot be deleted."
    )
    await volumes.refused(400, "PUT", f"/types/{default['id']}", {"volume_type": {}})
    await volumes.refused(400, "PUT", f"/types/{default['id']}", {"volume_type": {"name": " "}})
    await volumes.refused(409, "PUT", f"/types/{default['id']}", {"volume_type": {"name": "one"}})
    assert len((await volumes.ok("GET", "/types"))["volume_types"]) == 2


async def test_users_see_public_types_and_those_meant_for_their_project(volumes: Volumes) -> None:
    project, token = await volumes.user("member")
    secret = await volumes.type(
        "secret", **{"os-volume-type-access:is_public": False}, extra_specs={"pool": "x"}
    )
    where = f"/types/{secret['id']}"
    await volumes.refused(403, "POST", "/types", {"volume_type": {"name": "mine"}}, token=token)
    await volumes.refused(404, "GET", where, token=token)
    add, remove = ({f"{verb}ProjectAccess": {"project": project}} for verb in ("add", "remove"))
    assert (await volumes.ok("POST", f"{where}/action", add)).status == 202
    await volumes.refused(409, "POST", f"{where}/action", add)
    access = (await volumes.ok("GET", f"{where}/os-volume-type-access"))["volume_type_access"]
    assert access == [{"volume_type_id": secret["id"], "project_id": project}]
    shown = (await volumes.ok("GET", where, token=token))["volume_type"]
    assert shown["extra_specs"] == {}
    assert "qos_specs_id" not in shown
    listed = (await volumes.ok("GET", "/types", token=token))["volume_types"]
    assert {kind["name"] for kind in listed} == {"secret", "__DEFAULT__"}
    assert (await volumes.ok("POST", f"{where}/action", remove)).status == 202
    await volumes.refused(404, "POST", f"{where}/action", remove)
    await volumes.refused(404, "GET", where, token=token)
    default = (await volumes.ok("GET", "/types/default"))["volume_type"]
    await volumes.refused(404, "GET", f"/types/{default['id']}/os-volume-type-access")
    await volumes.refused(400, "POST", f"/types/{default['id']}/action", add)


async def test_extra_specs_one_by_one(volumes: Volumes) -> None:
    where = f"/types/{(await volumes.type('spec'))['id']}/extra_specs"
    body = {"extra_specs": {"volume_backend_name": "ring", "multiattach": "<is> True"}}
    assert (await volumes.ok("POST", where, body)).body == body
    _, token = await volumes.user("reader")
    seen = (await volumes.ok("GET", where, token=token))["extra_specs"]
    assert seen == {"multiattach": "<is> True"}
    await volumes.refused(404, "GET", f"{where}/volume_backend_name", token=token)
    assert (await volumes.ok("GET", f"{where}/volume_backend_name")).body == {
        "volume_backend_name": "ring"
    }
    new = {"volume_backend_name": "file"}
    assert (await volumes.ok("PUT", f"{where}/volume_backend_name", new)).body == new
    await volumes.refused(400, "PUT", f"{where}/other", new)
    await volumes.refused(400, "PUT", f"{where}/volume_backend_name", {**new, "b": "c"})
    await volumes.refused(400, "POST", where, {"extra_specs": {"with space": "x"}})
    await volumes.refused(400, "POST", where, {"extra_specs": {"cacheable": "<is> True"}})
    assert (await volumes.ok("DELETE", f"{where}/multiattach")).status == 202
    await volumes.refused(404, "DELETE", f"{where}/multiattach")
    assert (await volumes.ok("GET", where))["extra_specs"] == new


async def test_pages_of_types(volumes: Volumes) -> None:
    for number in range(4):
        await volumes.type(f"t{number}")
    seen, path = [], "/types?limit=2&sort=is_public:asc,name:desc"
    while path:
        reply = await volumes.ok("GET", path)
        seen += [kind["name"] for kind in reply["volume_types"]]
        links = reply.body.get("volume_type_links", [])
        path = links[0]["href"].split("/volume/v3")[1] if links else ""
    assert seen == sorted(["t0", "t1", "t2", "t3", "__DEFAULT__"], reverse=True)
    for query in (
        "limit=-1",
        "limit=x",
        "offset=-1",
        "sort=a:b",
        "sort=name&sort_key=name",
        "sort_key=x",
    ):
        await volumes.refused(400, "GET", f"/types?{query}")
    await volumes.refused(404, "GET", f"/types?marker={NOBODY}")


async def test_encryption_of_a_type(volumes: Volumes) -> None:
    where = f"/types/{(await volumes.type('luks'))['id']}/encryption"
    assert (await volumes.ok("GET", where)).body == {}
    fields = {"provider": "luks", "control_location": "front-end", "key_size": "256", "cipher": "aes"}
    made = (await volumes.ok("POST", where, {"encryption": fields}))["encryption"]
    assert made["key_size"] == 256
    await volumes.refused(400, "POST", where, {"encryption": fields})
    for wrong in (
        {"provider": "luks"},
        {**fields, "control_location": "side"},
        {**fields, "key_size": "k"},
    ):
        await volumes.refused(400, "POST", where, {"encryption": wrong})
    one = f"{where}/{made['encryption_id']}"
    await volumes.ok("PUT", one, {"encryption": {"key_size": 128}})
    shown = (await volumes.ok("GET", where)).body
    assert (shown["key_size"], shown["deleted"], shown["provider"]) == (128, False, "luks")
    assert (await volumes.ok("GET", f"{where}/cipher")).body == {"cipher": "aes"}
    await volumes.refused(404, "GET", f"{where}/colour")
    assert (await volumes.ok("DELETE", one)).status == 202
    await volumes.refused(404, "DELETE", one)
    nowhere = "/types/00000000-0000-4000-8000-000000000000/encryption"
    await volumes.refused(404, "POST", nowhere, {"encryption": fields})


async def test_qos_specs_and_their_types(volumes: Volumes) -> None:
    fields = {"name": "slow", "consumer": "front-end", "total_iops_sec": "100"}
    made = await volumes.ok("POST", "/qos-specs", {"qos_specs": fields})
    qos = made["qos_specs"]
    assert qos["specs"] == {"total_iops_sec": "100"}
    assert {link["rel"] for link in made["links"]} == {"self", "bookmark"}
    where = f"/qos-specs/{qos['id']}"
    await volumes.refused(409, "POST", "/qos-specs", {"qos_specs": fields})
    for wrong in ({"name": " "}, {"name": "x", "consumer": "me"}, {"name": "x", "a": 5}, {}):
        await volumes.refused(400, "POST", "/qos-specs", {"qos_specs": wrong})
    await volumes.ok("PUT", where, {"qos_specs": {"read_iops_sec": "5", "consumer": "both"}})
    await volumes.ok("PUT", f"{where}/delete_keys", {"keys": ["total_iops_sec"]})
    await volumes.refused(404, "PUT", f"{where}/delete_keys", {"keys": ["total_iops_sec"]})
    shown = (await volumes.ok("GET", where))["qos_specs"]
    assert (shown["specs"], shown["consumer"]) == ({"read_iops_sec": "5"}, "both")
    kind = await volumes.type("slow")
    other = (await volumes.ok("POST", "/qos-specs", {"qos_specs": {"name": "other"}}))["qos_specs"]
    query = f"?vol_type_id={kind['id']}"
    assert (await volumes.ok("GET", f"{where}/associate{query}")).status == 202
    await volumes.refused(400, "GET", f"/qos-specs/{other['id']}/associate{query}")
    await volumes.refused(400, "GET", f"{where}/associate")
    found = (await volumes.ok("GET", f"{where}/associations"))["qos_associations"]
    assert found == [{"association_type": "volume_type", "name": "slow", "id": kind["id"]}]
    assert (await volumes.ok("GET", f"/types/{kind['id']}"))["volume_type"]["qos_specs_id"] == qos["id"]
    assert await volumes.refused(400, "DELETE", where) == "Qos specs still in use."
    await volumes.ok("GET", f"{where}/disassociate{query}")
    await volumes.ok("GET", f"{where}/associate{query}")
    await volumes.ok("GET", f"{where}/disassociate_all")
    assert (await volumes.ok("GET", f"{where}/associations"))["qos_associations"] == []
    await volumes.ok("GET", f"{where}/associate{query}")
    assert (await volumes.ok("DELETE", f"{where}?force=True")).status == 202
    assert (await volumes.ok("GET", f"/types/{kind['id']}"))["volume_type"]["qos_specs_id"] is None
    assert [row["name"] for row in (await volumes.ok("GET", "/qos-specs"))["qos_specs"]] == ["other"]


async def test_of_two_who_make_a_type_at_once_one_wins(volumes: Volumes) -> None:
    body = {"volume_type": {"name": "raced"}}
    replies = await asyncio.gather(*(volumes.call("POST", "/types", body) for _ in range(4)))
    assert sorted(reply.status for reply in replies) == [200, 409, 409, 409]


@pytest.mark.parametrize(
    ("header", "status"), [("3.0", 200), ("latest", 200), ("3.72", 406), ("4.0", 406), ("3", 400)]
)
async def test_versions(volumes: Volumes, header: str, status: int) -> None:
    reply = await volumes.call("GET", "/types", version=header)
    assert reply.status == status
    if status == 200:
        assert reply.headers["OpenStack-API-Version"] == f"volume {header}".replace("latest", "3.71")


async def test_strangers_and_other_projects_paths(volumes: Volumes) -> None:
    await volumes.refused(401, "GET", "/types", token="")
    project, token = await volumes.user("reader")
    await volumes.ok("GET", f"/{project}/types", token=token)
    assert await volumes.refused(400, "GET", f"/{NOBODY}/types", token=token) == "Malformed request url"
