"""Namespaces and what is in them: made whole, changed, seen by whom they are for, gone as a whole."""

import asyncio
from typing import Any

from jsonschema import Draft4Validator

from tests.compute.image.metadefs.conftest import Metadefs

PROPERTY: dict[str, Any] = {"title": "Cores", "type": "integer", "minimum": 1, "default": 2}
WHOLE: dict[str, Any] = {
    "namespace": "Lab::Compute",
    "display_name": "Compute",
    "description": "what the laboratory asks of hosts",
    "visibility": "public",
    "resource_type_associations": [
        {"name": "OS::Glance::Image", "prefix": "hw_"},
        {"name": "Lab::Desk"},
    ],
    "properties": {"cores": PROPERTY},
    "objects": [
        {
            "name": "Disk",
            "required": ["size"],
            "properties": {"size": {"title": "GiB", "type": "integer"}},
        }
    ],
    "tags": [{"name": "fast"}, {"name": "slow"}],
}


async def test_a_namespace_is_made_whole_and_goes_whole(metadefs: Metadefs) -> None:
    made = await metadefs.ok("POST", "/namespaces", WHOLE)
    assert made.status == 201
    assert made.headers["Location"].endswith("/image/v2/metadefs/namespaces/Lab::Compute")
    shown = (await metadefs.ok("GET", "/namespaces/Lab::Compute")).body
    assert shown == made.body
    assert shown["self"] == "/v2/metadefs/namespaces/Lab::Compute"
    assert shown["properties"] == {"cores": PROPERTY}
    assert shown["protected"] is False
    assert [tag["name"] for tag in shown["tags"]] == ["fast", "slow"]
    assert shown["objects"][0]["required"] == ["size"]
    types = (await metadefs.ok("GET", "/resource_types"))["resource_types"]
    assert {"OS::Glance::Image", "Lab::Desk"} <= {each["name"] for each in types}
    await metadefs.refused(409, "POST", "/namespaces", WHOLE)
    assert (await metadefs.ok("DELETE", "/namespaces/Lab::Compute")).status == 204
    await metadefs.refused(404, "GET", "/namespaces/Lab::Compute")
    await metadefs.ok("POST", "/namespaces", {"namespace": "Lab::Compute"})
    assert "tags" not in (await metadefs.ok("GET", "/namespaces/Lab::Compute")).body


async def test_a_namespace_that_can_not_be_made_whole_is_not_made(metadefs: Metadefs) -> None:
    for part in (
        {"tags": [{"name": "a"}, {"name": "A"}]},
        {"objects": [{"name": "x"}, {"name": "x"}]},
        {"resource_type_associations": [{"name": "x"}, {"name": "x"}]},
    ):
        await metadefs.refused(409, "POST", "/namespaces", {"namespace": "half", **part})
        await metadefs.refused(404, "GET", "/namespaces/half")


async def test_names_have_the_prefix_of_a_resource_type(metadefs: Metadefs) -> None:
    await metadefs.ok("POST", "/namespaces", WHOLE)
    path = "/namespaces/Lab::Compute"
    shown = (await metadefs.ok("GET", f"{path}?resource_type=OS::Glance::Image")).body
    assert list(shown["properties"]) == ["hw_cores"]
    assert shown["objects"][0]["required"] == ["hw_size"]
    found = await metadefs.ok("GET", f"{path}/properties/hw_cores?resource_type=OS::Glance::Image")
    assert found.body == {"name": "cores", **PROPERTY}
    for name, kind in (("cores", "OS::Glance::Image"), ("hw_cores", "Lab::Desk"), ("cores", "none")):
        await metadefs.refused(404, "GET", f"{path}/properties/{name}?resource_type={kind}")


async def test_an_update_says_everything_anew(metadefs: Metadefs) -> None:
    await metadefs.ok("POST", "/namespaces", WHOLE)
    body = {"namespace": "Lab::Other", "protected": True}
    shown = (await metadefs.ok("PUT", "/namespaces/Lab::Compute", body)).body
    assert shown["visibility"] == "private"
    assert "display_name" not in shown
    await metadefs.refused(404, "GET", "/namespaces/Lab::Compute")
    assert (await metadefs.ok("GET", "/namespaces/Lab::Other"))["tags"]
    for path in ("", "/tags", "/objects", "/properties", "/tags/fast", "/objects/Disk"):
        await metadefs.refused(403, "DELETE", f"/namespaces/Lab::Other{path}")
    await metadefs.refused(403, "DELETE", "/namespaces/Lab::Other/resource_types/Lab::Desk")
    await metadefs.ok("POST", "/namespaces", {"namespace": "Lab::Third"})
    await metadefs.refused(409, "PUT", "/namespaces/Lab::Third", {"namespace": "Lab::Other"})


async def test_items_are_made_changed_and_deleted(metadefs: Metadefs) -> None:
    await metadefs.ok("POST", "/namespaces", {"namespace": "n"})
    for kind, body, changed in (
        ("objects", {"name": "a", "description": "one"}, {"name": "b", "description": "two"}),
        ("properties", {"name": "a", **PROPERTY}, {"name": "b", "title": "B", "type": "string"}),
    ):
        path = f"/namespaces/n/{kind}"
        made = await metadefs.ok("POST", path, body)
        assert made.status == 201
        assert (await metadefs.ok("GET", f"{path}/a")).body == made.body
        await metadefs.refused(409, "POST", path, body)
        await metadefs.ok("POST", path, {**body, "name": "c"})
        await metadefs.refused(409, "PUT", f"{path}/a", {**body, "name": "c"})
        shown = (await metadefs.ok("PUT", f"{path}/a", changed)).body
        assert changed.items() <= shown.items()
        await metadefs.refused(404, "GET", f"{path}/a")
        assert (await metadefs.ok("DELETE", f"{path}/b")).status == 204
        await metadefs.refused(404, "DELETE", f"{path}/b")
        assert len((await metadefs.ok("GET", path))[kind]) == 1
        await metadefs.ok("DELETE", path)
        assert not (await metadefs.ok("GET", path))[kind]


async def test_tags_are_one_name_whatever_their_case(metadefs: Metadefs) -> None:
    path = "/namespaces/n/tags"
    await metadefs.ok("POST", "/namespaces", {"namespace": "n"})
    assert (await metadefs.ok("POST", path, {"tags": [{"name": "a"}, {"name": "b"}]})).status == 201
    await metadefs.refused(409, "POST", f"{path}/A")
    await metadefs.ok("POST", f"{path}/c")
    await metadefs.refused(409, "PUT", f"{path}/c", {"name": "B"})
    assert (await metadefs.ok("PUT", f"{path}/c", {"name": "C"}))["name"] == "C"
    await metadefs.ok("POST", path, {"tags": [{"name": "d"}]}, X_Openstack_Append="True")
    await metadefs.refused(409, "POST", path, {"tags": [{"name": "x"}, {"name": "X"}]})
    listed = (await metadefs.ok("GET", f"{path}?sort_key=name&sort_dir=asc"))["tags"]
    assert listed == [{"name": name} for name in ("C", "a", "b", "d")] or listed == [
        {"name": name} for name in ("a", "b", "C", "d")
    ]
    await metadefs.ok("POST", path, {"tags": [{"name": "only"}]})
    assert (await metadefs.ok("GET", path))["tags"] == [{"name": "only"}]
    await metadefs.ok("DELETE", path)
    assert (await metadefs.ok("GET", path))["tags"] == []


async def test_associations(metadefs: Metadefs) -> None:
    path = "/namespaces/n/resource_types"
    await metadefs.ok("POST", "/namespaces", {"namespace": "n"})
    body = {"name": "OS::Nova::Server", "prefix": "x_", "properties_target": "image"}
    made = await metadefs.ok("POST", path, body)
    assert made.status == 201
    assert (await metadefs.ok("GET", path))["resource_type_associations"] == [made.body]
    await metadefs.refused(409, "POST", path, body)
    await metadefs.ok("POST", "/namespaces", {"namespace": "m"})
    listed = await metadefs.ok("GET", "/namespaces?resource_types=OS::Nova::Server,None")
    assert [each["namespace"] for each in listed["namespaces"]] == ["n"]
    await metadefs.ok("DELETE", f"{path}/OS::Nova::Server")
    await metadefs.refused(404, "DELETE", f"{path}/OS::Nova::Server")


async def test_who_sees_and_who_may(metadefs: Metadefs) -> None:
    project, token = await metadefs.user("member", "reader")
    await metadefs.ok("POST", "/namespaces", {"namespace": "open", "visibility": "public"})
    await metadefs.ok("POST", "/namespaces", {"namespace": "closed"})
    await metadefs.ok("POST", "/namespaces", {"namespace": "mine", "owner": project})
    listed = await metadefs.ok("GET", "/namespaces?sort_key=namespace&sort_dir=asc", token=token)
    assert [each["namespace"] for each in listed["namespaces"]] == ["mine", "open"]
    for kind in ("", "/objects", "/properties", "/tags", "/resource_types"):
        await metadefs.ok("GET", f"/namespaces/open{kind}", token=token)
        await metadefs.ok("GET", f"/namespaces/mine{kind}", token=token)
        await metadefs.refused(404, "GET", f"/namespaces/closed{kind}", token=token)
    await metadefs.refused(403, "POST", "/namespaces", {"namespace": "new"}, token=token)
    for path, status in (("mine", 403), ("open", 403), ("closed", 404)):
        await metadefs.refused(status, "DELETE", f"/namespaces/{path}", token=token)
        await metadefs.refused(status, "POST", f"/namespaces/{path}/tags/t", token=token)
        body = {"name": "t"}
        await metadefs.refused(status, "POST", f"/namespaces/{path}/objects", body, token=token)
    await metadefs.refused(401, "GET", "/namespaces", token="")


async def test_pages(metadefs: Metadefs) -> None:
    for number in range(5):
        await metadefs.ok("POST", "/namespaces", {"namespace": f"n{number}", "visibility": "public"})
    found, path = [], "/v2/metadefs/namespaces?limit=2&sort_key=display_name&visibility=public"
    for _ in range(4):
        page = (await metadefs.ok("GET", path)).body
        found += [each["namespace"] for each in page["namespaces"]]
        if "next" not in page:
            break
        path = page["next"]
    assert sorted(found) == [f"n{number}" for number in range(5)]
    for query in ("limit=x", "limit=-1", "sort_dir=up", "sort_key=shoe", "visibility=shared"):
        await metadefs.refused(400, "GET", f"/namespaces?{query}")
    await metadefs.refused(404, "GET", "/namespaces?marker=none")


async def test_bodies_are_checked(metadefs: Metadefs) -> None:
    await metadefs.ok("POST", "/namespaces", {"namespace": "n"})
    for path, body, status in (
        ("/namespaces", {}, 400),
        ("/namespaces", {"namespace": "x" * 81}, 400),
        ("/namespaces", {"namespace": "x", "more": 1}, 400),
        ("/namespaces", {"namespace": "x", "visibility": "shared"}, 400),
        ("/namespaces", {"namespace": "x", "self": "y"}, 403),
        ("/namespaces", {"namespace": "x", "properties": {"p": {"title": "t"}}}, 400),
        ("/namespaces/n/objects", {"name": "x", "properties": {"p": {"type": "integer"}}}, 400),
        ("/namespaces/n/objects", {"description": "x"}, 400),
        ("/namespaces/n/properties", {"name": "x", "type": "shoe", "title": "t"}, 400),
        ("/namespaces/n/tags", {"tags": [{}]}, 400),
        ("/namespaces/n/resource_types", {"prefix": "x"}, 400),
    ):
        await metadefs.refused(status, "POST", path, body)
    await metadefs.refused(404, "GET", "/nothing")
    await metadefs.refused(405, "PATCH", "/namespaces")


async def test_schemas_are_served(metadefs: Metadefs) -> None:
    for name in ("namespace", "object", "tag", "resource_type", "resource_types", "tags", "objects"):
        schema = (await metadefs.ok("GET", f"/v2/schemas/metadefs/{name}")).body
        Draft4Validator.check_schema(schema)
    for name in ("namespaces", "property", "properties"):
        assert (await metadefs.ok("GET", f"/v2/schemas/metadefs/{name}"))["name"] == name
    await metadefs.refused(404, "GET", "/v2/schemas/metadefs/shoe")


async def test_of_many_at_once_one_makes_it(metadefs: Metadefs) -> None:
    replies = await asyncio.gather(
        *(metadefs.call("POST", "/namespaces", {"namespace": "race"}) for _ in range(8))
    )
    assert sorted(reply.status for reply in replies) == [201] + [409] * 7
