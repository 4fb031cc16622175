"""The catalog: regions, services, endpoints, who sees which, policies and limits tied to them."""

import pytest

from compute.identity.catalog_view import filled, may_be_filled
from compute.identity.rules import RULES
from compute.server.errors import MethodNotAllowed, NotFound
from compute.server.routes import Route, RouteTable
from tests.compute.identity.cloud import Cloud


async def test_endpoints_are_seen_while_they_and_their_service_are_enabled(cloud: Cloud) -> None:
    service = await cloud.make("service", type="dns")
    body = {"service_id": service["id"], "interface": "public", "url": "http://i/$(project_id)s"}
    endpoint = (await cloud.ok("POST", "/endpoints", {"endpoint": {**body, "region": "RegionOne"}}))[
        "endpoint"
    ]

    async def types() -> set[str]:
        return {entry["type"] for entry in (await cloud.ok("GET", "/auth/catalog"))["catalog"]}

    assert {"identity", "object-store", "dns"} <= await types()
    await cloud.ok("PATCH", f"/endpoints/{endpoint['id']}", {"endpoint": {"enabled": False}})
    assert "dns" not in await types()
    await cloud.ok("DELETE", f"/services/{service['id']}")  # with its endpoints
    assert (await cloud.call("GET", f"/endpoints/{endpoint['id']}")).status == 404
    for url in ("nothing", "http://x/$(password)s", "http://x/$(project_id"):
        reply = await cloud.call("POST", "/endpoints", {"endpoint": {**body, "url": url}})
        assert reply.status == 400, url


async def test_a_project_may_be_limited_to_some_endpoints(cloud: Cloud) -> None:
    project = await cloud.make("project")
    user = await cloud.user("reader", project=project["id"])
    identity = (await cloud.ok("GET", "/services?type=identity"))["services"][0]["id"]
    filters = {"service_id": identity, "interface": "public"}
    group = await cloud.make("endpoint_group", "/OS-EP-FILTER/endpoint_groups", filters=filters)
    where = f"/OS-EP-FILTER/endpoint_groups/{group['id']}/projects/{project['id']}"
    await cloud.ok("PUT", where)
    token = await cloud.token_of(user, {"project": {"id": project["id"]}})
    seen = (await cloud.validate(token))["token"]["catalog"]
    assert [(e["type"], len(e["endpoints"])) for e in seen] == [("identity", 1)]
    await cloud.ok("DELETE", where)
    assert len((await cloud.validate(token))["token"]["catalog"]) > 1


async def test_regions_are_trees(cloud: Cloud) -> None:
    await cloud.ok("PUT", "/regions/top", {"region": {}})
    await cloud.ok("PUT", "/regions/leaf", {"region": {"parent_region_id": "top"}})
    circle = {"region": {"parent_region_id": "leaf"}}
    assert (await cloud.call("PATCH", "/regions/top", circle)).status == 400
    assert (await cloud.call("PUT", "/regions/top", {"region": {}})).status == 409
    assert (await cloud.call("DELETE", "/regions/RegionOne")).status == 403  # it has endpoints
    await cloud.ok("DELETE", "/regions/top")
    assert (await cloud.call("GET", "/regions/leaf")).status == 404


async def test_limits_stand_in_for_registered_ones(cloud: Cloud) -> None:
    service = await cloud.make("service", type="image")
    project = await cloud.make("project")
    known = {"service_id": service["id"], "resource_name": "images", "default_limit": 5}
    own = {
        "service_id": service["id"],
        "resource_name": "images",
        "project_id": project["id"],
        "resource_limit": 9,
    }
    assert (await cloud.call("POST", "/limits", {"limits": [own]})).status == 403
    registered = (await cloud.ok("POST", "/registered_limits", {"registered_limits": [known]}))[
        "registered_limits"
    ]
    made = (await cloud.ok("POST", "/limits", {"limits": [own]}))["limits"][0]
    assert (await cloud.call("POST", "/limits", {"limits": [own]})).status == 409
    assert (await cloud.call("DELETE", f"/registered_limits/{registered[0]['id']}")).status == 403
    user = await cloud.user("member", project=project["id"])
    token = await cloud.token_of(user, {"project": {"id": project["id"]}})
    seen = (await cloud.ok("GET", "/limits", token=token))["limits"]
    assert [limit["resource_limit"] for limit in seen] == [9]
    stranger = await cloud.token_of(await cloud.user())
    assert (await cloud.ok("GET", "/limits", token=stranger))["limits"] == []
    await cloud.ok("DELETE", f"/limits/{made['id']}")


async def test_the_policy_of_an_endpoint_is_the_nearest(cloud: Cloud) -> None:
    service = (await cloud.ok("GET", "/services?type=identity"))["services"][0]["id"]
    endpoint = (await cloud.ok("GET", f"/endpoints?service_id={service}"))["endpoints"][0]["id"]
    far, near = [
        (await cloud.ok("POST", "/policies", {"policy": {"type": "t", "blob": name}}))["policy"]["id"]
        for name in ("far", "near")
    ]
    found = f"/endpoints/{endpoint}/OS-ENDPOINT-POLICY/policy"
    assert (await cloud.call("GET", found)).status == 404
    await cloud.ok("PUT", f"/policies/{far}/OS-ENDPOINT-POLICY/services/{service}")
    assert (await cloud.ok("GET", found))["policy"]["blob"] == "far"
    await cloud.ok("PUT", f"/policies/{near}/OS-ENDPOINT-POLICY/services/{service}/regions/RegionOne")
    assert (await cloud.ok("GET", found))["policy"]["blob"] == "near"
    assert (await cloud.ok("GET", f"/policies/{far}/OS-ENDPOINT-POLICY/endpoints"))["endpoints"] == []


async def test_what_is_absent_says_so(cloud: Cloud) -> None:
    reply = await cloud.call("GET", "/OS-FEDERATION/identity_providers")
    assert (reply.status, reply["error"]["title"]) == (501, "Not Implemented")
    assert (await cloud.call("GET", "/nowhere")).status == 404
    assert (await cloud.call("DELETE", "/users")).status == 405


@pytest.mark.parametrize(
    ("url", "values", "result"),
    [
        ("http://h/$(project_id)s", {"project_id": "p"}, "http://h/p"),
        ("http://h/%(tenant_id)s/x", {"tenant_id": "p"}, "http://h/p/x"),
        ("http://h/$(project_id)s", {"project_id": None}, None),
        ("http://h", {}, "http://h"),
    ],
)
def test_urls_are_filled_in(url: str, values: dict[str, str | None], result: str | None) -> None:
    assert filled(url, values) == result


def test_only_known_places_are_taken() -> None:
    assert may_be_filled("http://h/$(user_id)s/$(project_id)s")
    assert not may_be_filled("http://h/$(secret)s")


def test_each_rule_has_one_default() -> None:
    names = [rule.name for rule in RULES]
    assert len(names) == len(set(names))


def test_fixed_segments_go_before_names() -> None:
    table = RouteTable(
        [Route("GET", "/a/{x}", 1), Route("GET", "/a/b", 2), Route("GET", "/a/{x}/c", 3)]
    )
    assert table.find("GET", "/a/b") == (2, {})
    assert table.find("HEAD", "/a/z/") == (1, {"x": "z"})
    assert table.find("GET", "/a/b/c") == (3, {"x": "b"})
    with pytest.raises(MethodNotAllowed):
        table.find("PUT", "/a/b")
    with pytest.raises(NotFound):
        table.find("GET", "/a")
