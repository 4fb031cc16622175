"""Listings: orders, pages, prefixes, spellings."""

from typing import Any

import pytest

from tests.api.s3.conftest import refused
from tests.api.s3.wire import Wire, path_of

NAMES = sorted(
    ["a", "a/b", "a/b/c", "a b", "a+b", "b/1", "b/2", "c", "\u00fc", "\u00fc/x", "z&<>", "~"],
    key=str.encode,
)


@pytest.fixture(scope="module")
def filled(s3: Any) -> str:
    s3.create_bucket(Bucket="listing")
    for name in NAMES:
        s3.put_object(Bucket="listing", Key=name, Body=name.encode())
    return "listing"


def names_of(page: dict[str, Any]) -> tuple[list[str], list[str]]:
    keys = [entry["Key"] for entry in page.get("Contents", [])]
    return keys, [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]


@pytest.mark.parametrize("call", ["list_objects", "list_objects_v2"])
def test_keys_are_in_byte_order(s3: Any, filled: str, call: str) -> None:
    page = getattr(s3, call)(Bucket=filled)
    assert names_of(page) == (NAMES, [])
    assert page["IsTruncated"] is False
    assert page["MaxKeys"] == 1000
    entry = page["Contents"][0]
    assert (entry["Size"], entry["StorageClass"]) == (1, "STANDARD")
    assert entry["ETag"] == s3.head_object(Bucket=filled, Key="a")["ETag"]
    assert entry["LastModified"] == s3.head_object(Bucket=filled, Key="a")["LastModified"]


@pytest.mark.parametrize("call", ["list_objects", "list_objects_v2", "list_object_versions"])
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_pages_put_together_are_the_listing(
    s3: Any, filled: str, call: str, size: int, delimiter: str
) -> None:
    pages = s3.get_paginator(call).paginate(
        Bucket=filled, Delimiter=delimiter, PaginationConfig={"PageSize": size}
    )
    keys, prefixes = [], []
    for page in pages:
        found = page.get("Versions" if call == "list_object_versions" else "Contents", [])
        keys += [entry["Key"] for entry in found]
        prefixes += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        assert len(found) + len(page.get("CommonPrefixes", [])) <= size
    if delimiter:
        assert keys == [name for name in NAMES if "/" not in name]
        assert prefixes == ["a/", "b/", "\u00fc/"]
    else:
        assert (keys, prefixes) == (NAMES, [])


def test_prefix_and_start_after(s3: Any, filled: str) -> None:
    page = s3.list_objects_v2(Bucket=filled, Prefix="a/", Delimiter="/")
    assert names_of(page) == (["a/b"], ["a/b/"])
    assert page["KeyCount"] == 2
    page = s3.list_objects_v2(Bucket=filled, StartAfter="b/1")
    assert names_of(page)[0] == NAMES[NAMES.index("b/1") + 1 :]
    page = s3.list_objects(Bucket=filled, Marker="b/1")
    assert names_of(page)[0] == NAMES[NAMES.index("b/1") + 1 :]
    assert page["Marker"] == "b/1"


def test_owners_come_when_asked_for(s3: Any, filled: str) -> None:
    assert "Owner" not in s3.list_objects_v2(Bucket=filled)["Contents"][0]
    owned = s3.list_objects_v2(Bucket=filled, FetchOwner=True)["Contents"][0]
    assert owned["Owner"]["ID"] == "AUTH_demo"
    assert s3.list_objects(Bucket=filled)["Contents"][0]["Owner"]["ID"] == "AUTH_demo"


def test_no_keys_asked_for(s3: Any, filled: str) -> None:
    page = s3.list_objects_v2(Bucket=filled, MaxKeys=0)
    assert (page["KeyCount"], page["IsTruncated"]) == (0, False)
    assert "Contents" not in page


def test_more_than_a_thousand_is_a_thousand(s3: Any, filled: str) -> None:
    assert s3.list_objects_v2(Bucket=filled, MaxKeys=5000)["MaxKeys"] == 1000


def test_bad_parameters(s3: Any, filled: str, wire: Wire) -> None:
    with refused("InvalidArgument", 400):
        s3.list_objects_v2(Bucket=filled, MaxKeys=-1)
    with refused("InvalidArgument", 400):
        s3.list_objects_v2(Bucket=filled, ContinuationToken="made-up")
    for query in ("max-keys=x", "encoding-type=base64", "list-type=3", "prefix=%FF", "max-keys=1e3"):
        assert wire("GET", f"/{filled}?{query}").code == "InvalidArgument"


def test_spellings(wire: Wire, filled: str) -> None:
    plain = wire("GET", f"/{filled}").body.decode()
    assert "<Key>a b</Key>" in plain
    assert "<Key>z&amp;&lt;&gt;</Key>" in plain
    encoded = wire("GET", f"/{filled}?encoding-type=url&delimiter=%2F").body.decode()
    assert "<Key>a%20b</Key>" in encoded
    assert "<Key>a%2Bb</Key>" in encoded
    assert "<EncodingType>url</EncodingType>" in encoded
    assert "<CommonPrefixes><Prefix>%C3%BC/</Prefix></CommonPrefixes>" in encoded


def test_keys_that_xml_cannot_hold_are_listed(s3: Any, bucket: str, wire: Wire) -> None:
    keys = ["\x01", "\x0b\x0c", "\uffff"]
    for key in keys:
        assert wire("PUT", path_of(bucket, key), b"x").status == 200
    assert names_of(s3.list_objects_v2(Bucket=bucket))[0] == keys


def test_many_keys(s3: Any, bucket: str, endpoint: Any) -> None:
    from proxy.core.types import ObjectAttributes
    from tests.grid import BytesBody

    async def fill() -> None:
        container = await endpoint.store.container("AUTH_demo", bucket)
        for number in range(2500):
            body = BytesBody(b"")
            name = f"k{number:05d}"
            await endpoint.store.put_object(container, name, body, ObjectAttributes("x"))

    endpoint.run(fill())
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket))
    assert [page["KeyCount"] for page in pages] == [1000, 1000, 500]
    keys = [entry["Key"] for page in pages for entry in page["Contents"]]
    assert keys == [f"k{number:05d}" for number in range(2500)]


def test_versions_are_all_null_and_latest(s3: Any, filled: str) -> None:
    page = s3.list_object_versions(Bucket=filled)
    assert [entry["Key"] for entry in page["Versions"]] == NAMES
    assert {(entry["VersionId"], entry["IsLatest"]) for entry in page["Versions"]} == {("null", True)}
