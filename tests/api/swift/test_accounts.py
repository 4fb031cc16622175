"""Logging in, /info, /healthcheck and accounts."""

import re
from xml.etree import ElementTree

import pytest

from tests.api.swift.wire import Answer, Wire

TRANS_ID = re.compile(r"tx[0-9a-f]{21}-[0-9a-f]{10}")


def check_common(answer: Answer) -> None:
    """What every answer of Swift has."""
    assert TRANS_ID.fullmatch(answer.headers["x-trans-id"])
    assert answer.headers["x-openstack-request-id"] == answer.headers["x-trans-id"]
    assert "date" in answer.headers
    assert "content-type" in answer.headers
    assert answer.status == 204 or "content-length" in answer.headers


@pytest.mark.parametrize(
    ("user", "key"), [("X-Auth-User", "X-Auth-Key"), ("X-Storage-User", "X-Storage-Pass")]
)
def test_log_in(nobody: Wire, user: str, key: str) -> None:
    answer = nobody.raw("GET", "/auth/v1.0", {user: "demo:demo", key: "demo-secret"})
    check_common(answer)
    assert answer.status == 200
    assert answer.headers["x-auth-token"] == answer.headers["x-storage-token"]
    assert answer.headers["x-storage-url"] == f"http://{nobody.host}:{nobody.port}/v1/AUTH_demo"
    assert 0 < int(answer.headers["x-auth-token-expires"]) <= 86_400


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Auth-User": "demo:demo"},
        {"X-Auth-User": "demo:demo", "X-Auth-Key": "wrong"},
        {"X-Auth-User": "nobody", "X-Auth-Key": "demo-secret"},
    ],
)
def test_wrong_logins(nobody: Wire, headers: dict[str, str]) -> None:
    answer = nobody.raw("GET", "/auth/v1.0", headers)
    check_common(answer)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Swift realm="unknown"')
    assert "x-auth-token" not in answer.headers


def test_info_healthcheck_and_what_is_not_there(nobody: Wire) -> None:
    info = nobody.raw("GET", "/info")
    check_common(info)
    assert info.headers["content-type"] == "application/json; charset=UTF-8"
    assert {"swift", "slo", "dlo", "tempauth", "tempurl", "bulk_delete", "bulk_upload"} == set(
        info.json
    )
    assert [policy["name"] for policy in info.json["swift"]["policies"]] == ["replicated-3", "ec-4-2"]
    health = nobody.raw("GET", "/healthcheck")
    check_common(health)
    assert (health.status, health.text) == (200, "OK")
    assert nobody.raw("GET", "/endpoints/AUTH_demo/c/o").status == 501
    assert nobody.raw("GET", "/auth/elsewhere").status == 404
    assert nobody.raw("POST", "/info").status == 405


def test_tokens_are_checked(wire: Wire, stranger: Wire, nobody: Wire) -> None:
    assert wire("GET").status in (200, 204)
    refused = nobody("GET")
    check_common(refused)
    assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Swift realm="AUTH_demo"')
    assert nobody("GET", headers={"X-Auth-Token": "AUTH_tkforged"}).status == 401
    assert nobody("GET", headers={"X-Storage-Token": wire.token}).status in (200, 204)
    stranger.account = "AUTH_demo"
    assert stranger("GET").status == 403
    assert stranger("POST", headers={"X-Account-Meta-A": "1"}).status == 403


def test_an_administrator_may_use_every_account(nobody: Wire) -> None:
    nobody.log_in("root:root", "root-secret")
    nobody.account = "AUTH_demo"
    assert nobody("HEAD").status == 204


def test_account_metadata_and_totals(wire: Wire, container: str) -> None:
    assert wire("PUT", f"{container}/o", body=b"12345").status == 201
    assert wire("POST", headers={"X-Account-Meta-Color": "ü", "X-Account-Meta-Gone": "1"}).status == 204
    assert wire("POST", headers={"X-Remove-Account-Meta-Gone": "x"}).status == 204
    head = wire("HEAD")
    check_common(head)
    assert head.status == 204
    assert head.headers["x-account-meta-color"] == "ü"
    assert "x-account-meta-gone" not in head.headers
    assert int(head.headers["x-account-container-count"]) >= 1
    assert int(head.headers["x-account-bytes-used"]) >= 5
    assert int(head.headers["x-account-storage-policy-replicated-3-object-count"]) >= 1
    assert re.fullmatch(r"\d{10}\.\d{5}", head.headers["x-timestamp"])
    assert wire("POST", headers={"X-Account-Meta-Color": ""}).status == 204


@pytest.mark.parametrize("method", ["PUT", "DELETE", "COPY", "PATCH"])
def test_methods_that_accounts_lack(wire: Wire, method: str) -> None:
    answer = wire(method)
    check_common(answer)
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, HEAD, OPTIONS, POST")


def test_listings_of_containers(stranger: Wire) -> None:
    names = ["a", "b-1", "b-2", "c", "ü & <x>"]
    empty = stranger("GET")
    assert (empty.status, empty.headers["content-type"]) == (204, "text/plain; charset=utf-8")
    assert stranger("GET", query="format=json").json == []
    for name in names:
        assert stranger("PUT", name).status == 201
    assert stranger("GET").text.splitlines() == names
    assert stranger("GET", query="reverse=true").text.splitlines() == names[::-1]
    assert stranger("GET", query="prefix=b&limit=1").text.splitlines() == ["b-1"]
    assert stranger("GET", query="marker=b-1&end_marker=c").text.splitlines() == ["b-2"]
    assert stranger("GET", query="limit=0").status == 204
    assert stranger("PUT", "a/o", body=b"123").status == 201
    listed = stranger("GET", query="format=json").json
    assert [entry["name"] for entry in listed] == names
    assert (listed[0]["count"], listed[0]["bytes"]) == (1, 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", listed[0]["last_modified"])
    xml = stranger("GET", headers={"Accept": "application/xml"})
    assert xml.headers["content-type"] == "application/xml; charset=utf-8"
    root = ElementTree.fromstring(xml.body)  # noqa: S314 - our own
    assert (root.tag, root.get("name")) == ("account", "AUTH_other")
    assert [entry.findtext("name") for entry in root] == names
    delimited = stranger("GET", query="format=json&delimiter=-").json
    assert [entry.get("name") or entry["subdir"] for entry in delimited] == ["a", "b-", "c", "ü & <x>"]
    assert stranger("DELETE", "a/o").status == 204
    for name in names:
        assert stranger("DELETE", name).status == 204
