"""Containers: metadata, policies, listings."""

from xml.etree import ElementTree

import pytest

from tests.api.swift.test_accounts import check_common
from tests.api.swift.wire import Wire


def test_life_of_a_container(wire: Wire) -> None:
    assert wire("HEAD", "life").status == 404
    created = wire("PUT", "life", headers={"X-Container-Meta-A": "1", "X-Container-Meta-B": "2"})
    check_common(created)
    assert created.status == 201
    assert wire("PUT", "life", headers={"X-Container-Meta-C": "3"}).status == 202
    assert wire("POST", "life", headers={"X-Remove-Container-Meta-B": "x"}).status == 204
    head = wire("HEAD", "life")
    check_common(head)
    assert head.status == 204
    meta = {k: v for k, v in head.headers.items() if k.startswith("x-container-meta-")}
    assert meta == {"x-container-meta-a": "1", "x-container-meta-c": "3"}
    assert head.headers["x-storage-policy"] == "replicated-3"
    assert head.headers["x-container-object-count"] == "0"
    assert wire("PUT", "life/o", body=b"x").status == 201
    conflict = wire("DELETE", "life")
    check_common(conflict)
    assert conflict.status == 409
    assert wire("DELETE", "life/o").status == 204
    assert wire("DELETE", "life").status == 204
    assert wire("DELETE", "life").status == 404
    for method in ("GET", "HEAD", "POST"):
        assert wire(method, "life").status == 404


def test_storage_policies(wire: Wire) -> None:
    assert wire("PUT", "ec", headers={"X-Storage-Policy": "EC-4-2"}).status == 201
    assert wire("HEAD", "ec").headers["x-storage-policy"] == "ec-4-2"
    assert wire("PUT", "ec").status == 202
    assert wire("PUT", "ec", headers={"X-Storage-Policy": "ec-4-2"}).status == 202
    assert wire("PUT", "ec", headers={"X-Storage-Policy": "replicated-3"}).status == 409
    unknown = wire("PUT", "other", headers={"X-Storage-Policy": "gold"})
    assert (unknown.status, unknown.text) == (400, "Invalid X-Storage-Policy 'gold'\n")
    assert wire("HEAD", "other").status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Container-Meta-" + "n" * 129: "v"}, 400),
        ({"X-Container-Meta-A": "v" * 257}, 400),
        ({f"X-Container-Meta-{n}": "v" for n in range(91)}, 400),
        ({"X-Container-Read": ".nonsense"}, 400),
        ({"X-Container-Write": ".r:*"}, 400),
        ({"X-Versions-Location": "elsewhere"}, 501),
        ({"X-Versions-Enabled": "true"}, 501),
        ({"X-Container-Sync-To": "//realm/cluster/a/c"}, 501),
    ],
)
def test_bad_headers_change_nothing(
    wire: Wire, container: str, headers: dict[str, str], status: int
) -> None:
    for method, name in (("PUT", "never-made"), ("POST", container), ("PUT", container)):
        answer = wire(method, name, headers=headers)
        assert answer.status == status, answer
    assert wire("HEAD", "never-made").status == 404
    head = wire("HEAD", container).headers
    assert not any(name.startswith(("x-container-meta", "x-container-read")) for name in head)


def test_metadata_are_counted_together_with_those_there(wire: Wire, container: str) -> None:
    first = {f"X-Container-Meta-{n}": "v" for n in range(60)}
    assert wire("POST", container, headers=first).status == 204
    second = {f"X-Container-Meta-More-{n}": "v" for n in range(31)}
    assert wire("POST", container, headers=second).status == 400
    assert wire("POST", container, headers={**second, "X-Remove-Container-Meta-0": "x"}).status == 204


def test_names(wire: Wire) -> None:
    assert wire("PUT", "n" * 256).status == 201
    assert wire("DELETE", "n" * 256).status == 204
    long = wire("PUT", "ü" * 129)
    assert (long.status, long.text) == (400, "Container name length of 258 longer than 256\n")
    assert wire.raw("PUT", "/v1/AUTH_demo/%ff", {"X-Auth-Token": wire.token}).status == 412
    assert wire.raw("PUT", "/v1/AUTH_demo/a%00", {"X-Auth-Token": wire.token}).status == 412


NAMES = [
    "a",
    "a/",
    "a/b",
    "a/b/c",
    "a/b/d",
    "a/e",
    "b",
    "dir/1",
    "dir/2",
    "z-x-1",
    "z-x-2",
    "é",
    "日本/語",
]


@pytest.fixture
def filled(wire: Wire, container: str) -> str:
    for name in NAMES:
        assert wire("PUT", f"{container}/{name}", body=name.encode()).status == 201
    return container


def entries(wire: Wire, container: str, query: str) -> list[str]:
    listed = wire("GET", container, f"format=json&{query}")
    assert listed.status == 200, listed
    return [entry.get("subdir") or entry["name"] for entry in listed.json]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", NAMES),
        ("reverse=on", NAMES[::-1]),
        ("limit=3", NAMES[:3]),
        ("limit=3&marker=a/b", ["a/b/c", "a/b/d", "a/e"]),
        ("marker=a/b&end_marker=b", ["a/b/c", "a/b/d", "a/e"]),
        ("marker=b&end_marker=a/b&reverse=1", ["a/e", "a/b/d", "a/b/c"]),
        ("prefix=a/b", ["a/b", "a/b/c", "a/b/d"]),
        ("prefix=nothing", []),
        ("delimiter=/", ["a", "a/", "b", "dir/", "z-x-1", "z-x-2", "é", "日本/"]),
        ("delimiter=/&reverse=1&limit=4", ["日本/", "é", "z-x-2", "z-x-1"]),
        ("prefix=a/&delimiter=/", ["a/", "a/b", "a/b/", "a/e"]),
        ("delimiter=-x-", [*NAMES[:9], "z-x-", "é", "日本/語"]),
        ("delimiter=/&marker=a/", ["b", "dir/", "z-x-1", "z-x-2", "é", "日本/"]),
        ("path=", ["a", "a/", "b", "z-x-1", "z-x-2", "é"]),
        ("path=a", ["a/b", "a/e"]),
        ("path=a/&limit=1", ["a/b"]),
        ("path=a/b", ["a/b/c", "a/b/d"]),
        ("path=dir", ["dir/1", "dir/2"]),
        ("limit=0", []),
    ],
)
def test_listings(wire: Wire, filled: str, query: str, expected: list[str]) -> None:
    assert entries(wire, filled, query) == expected


def test_pages_join_to_the_whole(wire: Wire, filled: str) -> None:
    found: list[str] = []
    while page := wire("GET", filled, f"limit=2&marker={quoted(found)}").text.splitlines():
        found += page
    assert found == NAMES


def quoted(found: list[str]) -> str:
    from urllib.parse import quote

    return quote(found[-1]) if found else ""


def test_listing_formats(wire: Wire, filled: str) -> None:
    text = wire("GET", filled)
    check_common(text)
    assert text.text == "".join(f"{name}\n" for name in NAMES)
    assert text.headers["x-container-object-count"] == str(len(NAMES))
    assert text.headers["x-container-bytes-used"] == str(sum(len(name.encode()) for name in NAMES))
    entry = wire("GET", filled, "format=json&prefix=b").json[0]
    assert entry.pop("last_modified").startswith("20")
    assert entry == {
        "name": "b",
        "bytes": 1,
        "hash": "92eb5ffee6ae2fec3ad71c777531578f",
        "content_type": "application/octet-stream",
    }
    xml = wire("GET", filled, "delimiter=/", {"Accept": "text/xml"})
    assert xml.headers["content-type"] == "text/xml; charset=utf-8"
    root = ElementTree.fromstring(xml.body)  # noqa: S314 - our own
    assert [child.tag for child in root].count("subdir") == 2 + 1
    assert root.find("subdir[@name='日本/']") is not None
    assert wire("GET", filled, headers={"Accept": "image/png"}).status == 406
    assert wire("GET", filled, "prefix=%ff").status == 400
    assert wire("GET", filled, "limit=10001").status == 412
    assert wire("GET", filled, "prefix=none").status == 204
    assert wire("HEAD", filled).headers["content-type"] == "text/plain; charset=utf-8"
