"""Types of groups, and what is said of versions to anyone."""

from tests.compute.volume.cloud import Volumes


async def test_a_group_type_with_its_specs(volumes: Volumes) -> None:
    fields = {"name": "together", "group_specs": {"consistent_group_snapshot_enabled": "<is> True"}}
    reply = await volumes.ok("POST", "/group_types", {"group_type": fields})
    assert reply.status == 202
    made = reply["group_type"]
    where = f"/group_types/{made['id']}"
    assert (await volumes.ok("GET", where))["group_type"] == made
    await volumes.refused(409, "POST", "/group_types", {"group_type": fields})
    for wrong in ({"name": ""}, {"name": "x", "group_specs": {"a": 1}}, {"name": "x", "b": 1}, {}):
        await volumes.refused(400, "POST", "/group_types", {"group_type": wrong})
    _, token = await volumes.user("member")
    seen = (await volumes.ok("GET", where, token=token))["group_type"]
    assert "group_specs" not in seen
    await volumes.refused(403, "POST", "/group_types", {"group_type": {"name": "y"}}, token=token)
    specs = f"{where}/group_specs"
    assert (await volumes.ok("POST", specs, {"group_specs": {"a": "b"}})).status == 202
    await volumes.refused(400, "PUT", f"{specs}/a", {"b": "c"})
    assert (await volumes.ok("PUT", f"{specs}/a", {"a": "c"})).body == {"a": "c"}
    assert (await volumes.ok("GET", f"{specs}/a")).body == {"a": "c"}
    assert (await volumes.ok("DELETE", f"{specs}/a")).status == 202
    await volumes.refused(404, "GET", f"{specs}/a")
    assert (await volumes.ok("GET", specs))["group_specs"] == fields["group_specs"]
    changed = {"group_type": {"name": "apart", "is_public": False}}
    assert (await volumes.ok("PUT", where, changed))["group_type"]["name"] == "apart"
    await volumes.refused(404, "GET", where, token=token)
    await volumes.refused(400, "PUT", where, {"group_type": {}})
    assert (await volumes.ok("GET", "/group_types"))["group_types"] == []
    for query, count in (("None", 1), ("False", 1), ("True", 0)):
        found = (await volumes.ok("GET", f"/group_types?is_public={query}"))["group_types"]
        assert len(found) == count, query
    await volumes.refused(404, "GET", "/group_types/default")
    await volumes.refused(404, "GET", where, version="3.10")
    assert (await volumes.ok("DELETE", where)).status == 202
    await volumes.refused(404, "DELETE", where)


async def test_anyone_is_told_which_versions_there_are(volumes: Volumes) -> None:
    for path, status in (("", 300), ("/", 300), ("/v3", 200), ("/v3/", 200)):
        url = f"{volumes.cloud.url}/volume{path}"
        reply = await volumes.cloud.call("GET", url, token="")
        assert reply.status == status, path
        (version,) = reply["versions"]
        assert (version["id"], version["version"]) == ("v3.0", "3.71")
        assert version["links"][1]["href"] == f"{volumes.cloud.url}/volume/v3/"
