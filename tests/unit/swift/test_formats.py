"""Listings and reports in their three forms."""

import json
from xml.etree import ElementTree

import pytest

from proxy.core.types import ObjectHead, ObjectInfo
from proxy.swift import formats
from proxy.swift.errors import SwiftError
from proxy.swift.list import listing_limit, object_record


@pytest.mark.parametrize(
    ("query", "accept", "wanted"),
    [
        ({}, "", "text/plain"),
        ({}, "*/*", "text/plain"),
        ({}, "application/json", "application/json"),
        ({}, "application/xml", "application/xml"),
        ({}, "text/xml", "text/xml"),
        ({}, "text/*", "text/plain"),
        ({}, "application/*;q=0.5, text/plain;q=0.4", "application/json"),
        ({}, "text/html, */*;q=0.1", "text/plain"),
        ({}, "application/json;q=x", "application/json"),
        ({}, "text/plain;q=0, */*", "application/json"),
        ({"format": "json"}, "text/plain", "application/json"),
        ({"format": "XML"}, "", "application/xml"),
        ({"format": "plain"}, "application/json", "text/plain"),
        ({"format": "nonsense"}, "application/json", "text/plain"),
    ],
)
def test_the_wanted_format(query: dict[str, str], accept: str, wanted: str) -> None:
    assert formats.wanted_format(query, accept) == wanted


@pytest.mark.parametrize("accept", ["image/png", "text/plain;q=0", "application/json;q=0, image/*"])
def test_nothing_acceptable(accept: str) -> None:
    with pytest.raises(SwiftError) as caught:
        formats.wanted_format({}, accept)
    assert caught.value.status == 406


def test_times() -> None:
    assert formats.iso_time(0) == "1970-01-01T00:00:00.000000"
    assert formats.iso_time(1_500_000_000_123_456_789) == "2017-07-14T02:40:00.123456"


def parse(xml: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 - our own


def test_xml_is_well_formed_whatever_the_names() -> None:
    records: list[tuple[str, formats.Record]] = [
        ("object", {"name": "a<&>\"'", "bytes": 1}),
        ("subdir", {"subdir": 'dir "<&>"/'}),
    ]
    root = parse(formats.to_xml("container", 'c"<', records))
    assert (root.tag, root.get("name")) == ("container", 'c"<')
    assert root[0].findtext("name") == "a<&>\"'"
    assert (root[1].get("name"), root[1].findtext("name")) == ('dir "<&>"/',) * 2


def test_entries_of_objects() -> None:
    head = ObjectHead("slo-md5", 10, 0, "t/x", kind="slo", manifest_etag="json-md5", parts=2)
    assert object_record(ObjectInfo("o", head, b"")) == (
        "object",
        {
            "name": "o",
            "hash": "json-md5",
            "bytes": 10,
            "content_type": "t/x",
            "last_modified": "1970-01-01T00:00:00.000000",
            "slo_etag": '"slo-md5"',
        },
    )
    assert object_record("dir/") == ("subdir", {"subdir": "dir/"})


def test_limits() -> None:
    assert [listing_limit(text) for text in ("", "x", "-1", "5", "0", "10000")] == [
        *(10_000,) * 3, 5, 0, 10_000,
    ]  # fmt: skip
    for text in ("10001", "9" * 5000):
        with pytest.raises(SwiftError, match="Maximum limit is 10000"):
            listing_limit(text)


def test_reports() -> None:
    fields = {"Number Deleted": 1, "Response Status": "400 Bad Request"}
    errors = [["/c/a%3Cb", "409 Conflict"]]
    assert json.loads(formats.report("application/json", "delete", fields, errors)) == {
        **fields,
        "Errors": errors,
    }
    text = formats.report("text/plain", "delete", fields, errors).decode()
    assert text.splitlines() == [
        "Number Deleted: 1",
        "Response Status: 400 Bad Request",
        "Errors:",
        "/c/a%3Cb, 409 Conflict",
    ]
    root = parse(formats.report("text/xml", "delete", fields, errors))
    assert root.findtext("number_deleted") == "1"
    assert root.findtext("errors/object/status") == "409 Conflict"
    assert formats.report("text/xml", "d", {}, []).startswith(formats.declaration("text/xml"))
