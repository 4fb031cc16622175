"""Manifests of static large objects: reading the client's, deciding ours, showing them."""

import base64
import hashlib
import json

import pytest

from proxy.core.types import ObjectHead, ObjectInfo
from proxy.swift import slo_manifest
from proxy.swift.errors import SwiftError
from proxy.swift.slo_manifest import (
    Found,
    Segment,
    manifest_md5,
    parse_manifest,
    parts_of,
    segment_of,
    show_manifest,
    show_raw,
)

OWN = ("c", "manifest")


def parse(*entries: object) -> list[Segment]:
    return parse_manifest(json.dumps(entries).encode(), OWN)


def info(name: str, size_bytes: int = 100, kind: str = "", etag: str = "e1") -> Found:
    head = ObjectHead(etag, size_bytes, 1_500_000_000, "text/plain", kind=kind)
    return Found(ObjectInfo(name, head, b""), "")


def test_what_a_client_writes() -> None:
    parsed = parse(
        {"path": "/s/1", "etag": '"e1"', "size_bytes": 100},
        {"path": "s/a/b ü"},
        {"path": "/s/2", "etag": None, "size_bytes": None, "range": "5-"},
        {"path": "/s/3", "size_bytes": "7"},
        {"data": base64.b64encode(b"inline").decode()},
    )
    assert parsed == [
        Segment("s", "1", "e1", 100),
        Segment("s", "a/b ü"),
        Segment("s", "2", range="5-"),
        Segment("s", "3", size_bytes=7),
        Segment(data=b"inline"),
    ]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("x", "not a JSON object"),
        ({"path": "/s/1", "extra": 1}, "extraneous keys 'extra'"),
        ({"etag": "e"}, 'expected keys to include one of "path" or "data"'),
        ({"path": 5}, "path must be a string"),
        ({"path": "/s"}, "path does not refer to an object"),
        ({"path": "/s/"}, "path does not refer to an object"),
        ({"path": "/s/\ud800"}, "valid UTF-8"),
        ({"path": "/s/\0"}, "valid UTF-8"),
        ({"path": "/c/manifest"}, "must not include itself"),
        ({"path": "/s/1", "etag": 5}, "etag must be a string"),
        ({"path": "/s/1", "size_bytes": "x"}, "invalid size_bytes"),
        ({"path": "/s/1", "size_bytes": True}, "invalid size_bytes"),
        ({"path": "/s/1", "size_bytes": 1.5}, "invalid size_bytes"),
        ({"path": "/s/1", "size_bytes": 0}, "too small"),
        ({"path": "/s/1", "range": "x"}, "invalid range"),
        ({"path": "/s/1", "range": 5}, "invalid range"),
        ({"path": "/s/1", "range": "1-2,4-5"}, "multiple ranges"),
        ({"data": "!!"}, "data must be valid base64"),
        ({"data": ""}, "too small"),
        ({"data": "QQ==", "path": "/s/1"}, "extraneous keys 'path'"),
    ],
)
def test_bad_entries_are_named_by_their_index(entry: object, text: str) -> None:
    with pytest.raises(SwiftError) as caught:
        parse({"path": "/s/good"}, entry)
    assert caught.value.status == 400
    assert caught.value.text.startswith("Index 1: ")
    assert text in caught.value.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (b"[", 400),
        (b"\xff\xfe\xfd", 400),
        (b"[" * 100_000, 400),
        (b"[]", 400),
        (b'[{"path": "/s/1", "size_bytes": ' + b"9" * 5000 + b"}]", 400),
        (json.dumps([{"path": "/s/1"}] * 1001).encode(), 413),
        (json.dumps([{"path": "/s/1"}, {"data": "QUFB" * 100_000}]).encode(), 413),
        (json.dumps([{"data": "QUFB"}]).encode(), 400),
    ],
)
def test_bad_manifests(body: bytes, status: int) -> None:
    with pytest.raises(SwiftError) as caught:
        parse_manifest(body, OWN)
    assert caught.value.status == status


def test_parts_hold_what_was_found() -> None:
    segments = [Segment("s", "1"), Segment("s", "1", range="-10"), Segment(data=b"xy")]
    parts, problems = parts_of(segments, {("s", "1"): info("1")})
    assert problems == []
    assert [part.size_bytes for part in parts] == [100, 10, 2]
    whole, ranged, inline = parts
    assert whole.reference is not None
    assert (whole.reference.offset, whole.reference.length) == (0, -1)
    assert ranged.reference is not None
    assert (ranged.reference.offset, ranged.reference.length) == (90, 10)
    assert (inline.data, inline.etag) == (b"xy", hashlib.md5(b"xy").hexdigest())
    joined = "e1" + "e1:90-99;" + inline.etag
    assert manifest_md5(parts) == hashlib.md5(joined.encode()).hexdigest()


@pytest.mark.parametrize(
    ("segment", "found", "problem"),
    [
        (Segment("s", "1"), Found(None, "404 Not Found"), "404 Not Found"),
        (Segment("s", "1", etag="e2"), info("1"), "Etag Mismatch"),
        (Segment("s", "1", size_bytes=99), info("1"), "Size Mismatch"),
        (Segment("s", "1", range="100-"), info("1"), "Unsatisfiable Range"),
        (Segment("s", "1"), info("1", 0), "Too small; each segment must be at least 1 byte."),
        (Segment("s", "1"), info("1", kind="dlo"), "A dynamic large object cannot be a segment"),
    ],
)
def test_segments_that_are_not_as_promised(segment: Segment, found: Found, problem: str) -> None:
    parts, problems = parts_of([segment, segment], {("s", "1"): found})
    assert parts == []
    assert problems == [["/s/1", problem]] * 2


def test_reports_name_paths_percent_encoded() -> None:
    _, problems = parts_of([Segment("s", "ü ,\n")], {("s", "ü ,\n"): Found(None, "404 Not Found")})
    assert problems[0][0] == "/s/%C3%BC%20%2C%0A"


def test_how_a_manifest_is_shown() -> None:
    segments = [Segment("s", "1"), Segment("s", "2", range="5-9"), Segment(data=b"xy")]
    found = {("s", "1"): info("1", kind="slo"), ("s", "2"): info("2")}
    parts, _ = parts_of(segments, found)
    common = {
        "hash": "e1",
        "bytes": 100,
        "content_type": "text/plain",
        "last_modified": "1970-01-01T00:00:01.500000",
    }
    assert json.loads(show_manifest(parts)) == [
        {"name": "/s/1", **common, "sub_slo": True},
        {"name": "/s/2", **common, "range": "5-9"},
        {"data": "eHk="},
    ]
    raw = show_raw(parts)
    assert json.loads(raw) == [
        {"path": "/s/1", "etag": "e1", "size_bytes": 100},
        {"path": "/s/2", "etag": "e1", "size_bytes": 100, "range": "5-9"},
        {"data": "eHk="},
    ]
    assert parse_manifest(raw, OWN) == [segment_of(part) for part in parts]


def test_the_limit_of_segments_is_inclusive() -> None:
    assert len(parse(*[{"path": "/s/1"}] * slo_manifest.SEGMENTS_MAX)) == 1000
