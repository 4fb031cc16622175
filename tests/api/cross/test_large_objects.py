"""Objects made of parts: S3's multipart objects, Swift's static and dynamic manifests, for both."""

import hashlib
import json
import random

import pytest

from tests.api.cross.apis import Api, Listed, S3Api, SwiftApi

_CHANCE = random.Random(9)
PARTS = [_CHANCE.randbytes(size) for size in (1_500_000, 70_000, 1_000, 3)]
WHOLE = b"".join(PARTS)
RANGES = [
    (0, 1),
    (1_499_990, 1_500_020),
    (1_569_999, 1_570_001),
    (10, 1_571_003),
    (1_571_000, 1_571_003),
]


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def etag(writer: Api, policy: str, new_name: str) -> str:
    """An object `o` in parts, made by the writer; its ETag."""
    writer.make(new_name, policy)
    return writer.put_in_parts(new_name, "o", PARTS)


def test_content_size_and_etag_of_parts(writer: Api, reader: Api, new_name: str, etag: str) -> None:
    joined = md5(b"".join(bytes.fromhex(md5(part)) for part in PARTS))
    expected = {"s3": f"{joined}-4", "swift": md5("".join(map(md5, PARTS)).encode())}
    assert etag == expected[writer.name]
    got, head = reader.ask("GET", new_name, "o"), reader.ask("HEAD", new_name, "o")
    assert got.body == WHOLE
    for seen in (got, head):
        assert (seen.status, seen.size, seen.etag) == (200, len(WHOLE), etag)
    assert reader.listing(new_name)["o"].size == len(WHOLE)


@pytest.mark.parametrize(("start", "end"), RANGES)
def test_ranges_over_parts(
    writer: Api, reader: Api, new_name: str, etag: str, start: int, end: int
) -> None:
    seen = reader.ask("GET", new_name, "o", {"Range": f"bytes={start}-{end - 1}"})
    assert (seen.status, seen.body) == (206, WHOLE[start:end])


def test_conditions_on_the_etag_of_parts(writer: Api, reader: Api, new_name: str, etag: str) -> None:
    assert reader.ask("GET", new_name, "o", {"If-Match": f'"{etag}"'}).status == 200
    assert reader.ask("GET", new_name, "o", {"If-None-Match": f'"{etag}"'}).status == 304
    assert reader.ask("GET", new_name, "o", {"If-Match": f'"{md5(WHOLE)}"'}).status == 412


def test_a_copy_of_parts_is_whole(writer: Api, reader: Api, new_name: str, etag: str) -> None:
    assert reader.copy(new_name, "o", "copy").status in {200, 201}
    for api in (writer, reader):
        assert api.ask("GET", new_name, "copy").body == WHOLE
    assert reader.ask("DELETE", new_name, "o").status == 204
    assert writer.ask("GET", new_name, "copy").body == WHOLE
    assert writer.ask("GET", new_name, "o").status == 404


def test_new_metadata_leave_the_parts_alone(writer: Api, reader: Api, new_name: str, etag: str) -> None:
    assert reader.update(new_name, "o", {"a": "b"}).status in {200, 202}
    for api in (writer, reader):
        seen = api.ask("GET", new_name, "o")
        assert (seen.meta, seen.body) == ({"a": "b"}, WHOLE)


def test_an_object_in_parts_is_overwritten_by_the_other(
    writer: Api, reader: Api, new_name: str, etag: str
) -> None:
    reader.put(new_name, "o", b"plain")
    for api in (writer, reader):
        assert api.ask("GET", new_name, "o").body == b"plain"
        assert api.listing(new_name)["o"] == Listed(md5(b"plain"), 5)
    writer.put_in_parts(new_name, "o", PARTS[2:])
    assert reader.ask("GET", new_name, "o").body == PARTS[2] + PARTS[3]


def test_swift_sees_s3s_multipart_objects_as_static_large_ones(
    s3: S3Api, swift: SwiftApi, new_name: str
) -> None:
    s3.make(new_name)
    s3.put_in_parts(new_name, "o", PARTS)
    assert swift.ask("HEAD", new_name, "o").headers["x-static-large-object"] == "True"
    # Its parts belong to it alone: they are no objects that a manifest could name.
    target = swift.target(new_name, "o", **{"multipart-manifest": "get"})
    assert json.loads(swift.request("GET", target).body) == []
    assert swift.names(new_name) == ["o"]
    target = swift.target(new_name, "o", **{"multipart-manifest": "delete"})
    assert swift.request("DELETE", target).status == 200
    assert s3.ask("GET", new_name, "o").status == 404


def test_swift_does_not_see_uploads_under_way(s3: S3Api, swift: SwiftApi, new_name: str) -> None:
    s3.make(new_name)
    upload = s3.begin_upload(new_name, "o")
    assert s3.put_part(new_name, "o", upload, 1, PARTS[0]).status == 200
    assert swift.names(new_name) == []
    assert swift.ask("GET", new_name, "o").status == 404
    assert swift.container("HEAD", new_name).headers["x-container-bytes-used"] == "0"


def test_s3_reads_segments_and_follows_their_loss(s3: S3Api, swift: SwiftApi, new_name: str) -> None:
    swift.make(new_name)
    swift.put_in_parts(new_name, "o", PARTS)
    segments = [f"o-segments/{number:04d}" for number in range(len(PARTS))]
    assert s3.names(new_name) == ["o", *segments]
    for name, part in zip(segments, PARTS, strict=True):
        assert s3.ask("GET", new_name, name).body == part
    s3.ask("DELETE", new_name, segments[0])
    answers = {api.ask("GET", new_name, "o").status for api in (s3, swift)}
    assert answers == {409}, "a manifest that refers to nothing is no object of fewer bytes"


def test_deleting_a_manifest_with_its_segments(s3: S3Api, swift: SwiftApi, new_name: str) -> None:
    swift.make(new_name)
    swift.put_in_parts(new_name, "o", PARTS)
    target = swift.target(new_name, "o", **{"multipart-manifest": "delete"})
    assert swift.request("DELETE", target).status == 200
    assert s3.names(new_name) == []


def test_dynamic_manifests_are_whole_objects_for_s3(s3: S3Api, swift: SwiftApi, new_name: str) -> None:
    s3.make(new_name)
    for number, part in enumerate(PARTS):
        s3.put(new_name, f"dynamic/{number}", part)
    swift.put(new_name, "o", b"", {"X-Object-Manifest": f"{new_name}/dynamic/"})
    for api in (s3, swift):
        assert api.ask("GET", new_name, "o").body == WHOLE
        assert api.ask("HEAD", new_name, "o").size == len(WHOLE)
        some = api.ask("GET", new_name, "o", {"Range": "bytes=1499999-1500000"})
        assert (some.status, some.body) == (206, WHOLE[1_499_999:1_500_001])
    s3.put(new_name, "dynamic/9", b"more")
    assert swift.ask("GET", new_name, "o").body == WHOLE + b"more"
    assert s3.ask("GET", new_name, "o").body == WHOLE + b"more"
