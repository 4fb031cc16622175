"""The table of concerns for objects: what one API wrote, the other reads, and the same does, too."""

import hashlib
import random
import time
from email.utils import formatdate

import pytest

from tests.api.cross.apis import Api, Listed

_CHANCE = random.Random(8)
SIZES = [0, 1, 5_000, 65_536, 65_537, (3 << 20) + 7]
POOL = _CHANCE.randbytes(SIZES[-1])
BODY = POOL[:5_000]

META = {"colour": "blue", "two-words": "a b", "zero": "0"}
UNICODE_META = {"name": "grün ☃ 日本語", "trailing": "x"}
CONTENT = {
    "cache-control": "max-age=60, public",
    "content-disposition": 'attachment; filename="a b.txt"',
    "content-encoding": "gzip",
    "content-language": "de",
    "expires": "Wed, 21 Oct 2037 07:28:00 GMT",
}

NAMES = [
    "plain",
    "a/b/c",
    "/leading",
    "trailing/",
    "a//b",
    "..",
    "../up",
    "a/./b",
    ".hidden",
    "with space",
    "per%cent",
    "%41",
    "%2F",
    "plus+plus",
    "a?b=c&d",
    "hash#tag",
    "quote'\"",
    "semi;colon",
    "back\\slash",
    "<xml>&amp;",
    "ünï/cödé",
    "日本語",
    "🌊",
    "e\u0301",
    "é",
    "~tilde",
    "*star",
    "tab\tname",
]


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("size", SIZES)
def test_content_size_and_etag(writer: Api, reader: Api, policy: str, new_name: str, size: int) -> None:
    writer.make(new_name, policy)
    body = POOL[:size]
    assert writer.put(new_name, "o", body).etag == md5(body)
    got, head = reader.ask("GET", new_name, "o"), reader.ask("HEAD", new_name, "o")
    assert got.body == body
    for seen in (got, head):
        assert (seen.status, seen.size, seen.etag) == (200, size, md5(body))
    assert reader.listing(new_name) == {"o": Listed(md5(body), size)}


@pytest.mark.parametrize("content_type", ["text/plain", "text/html; charset=utf-8", "x/y;a=b"])
def test_content_type(writer: Api, reader: Api, bucket: str, content_type: str) -> None:
    writer.put(bucket, "o", BODY, {"Content-Type": content_type})
    assert reader.ask("GET", bucket, "o").content_type == content_type
    assert reader.ask("HEAD", bucket, "o").content_type == content_type


@pytest.mark.parametrize("meta", [{}, META, UNICODE_META], ids=["none", "plain", "unicode"])
def test_user_metadata(writer: Api, reader: Api, bucket: str, meta: dict[str, str]) -> None:
    writer.put(bucket, "o", BODY, meta=meta)
    assert reader.ask("GET", bucket, "o").meta == meta
    assert reader.ask("HEAD", bucket, "o").meta == meta


def test_names_of_metadata_are_lower_case(writer: Api, reader: Api, bucket: str) -> None:
    writer.put(bucket, "o", BODY, meta={"MiXed-Case": "Value"})
    assert reader.ask("HEAD", bucket, "o").meta == {"mixed-case": "Value"}


def test_content_headers(writer: Api, reader: Api, bucket: str) -> None:
    writer.put(bucket, "o", BODY, CONTENT)
    assert reader.ask("GET", bucket, "o").kept == CONTENT
    assert reader.ask("HEAD", bucket, "o").kept == CONTENT
    assert reader.ask("GET", bucket, "o").body == BODY


@pytest.mark.parametrize("size", [5_000, SIZES[-1]])
@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("0-0", 0, 1),
        ("5-9", 5, 10),
        ("-5", -5, None),
        ("100-", 100, None),
        ("4990-99999999", 4990, None),
    ],
)
def test_ranges(
    writer: Api, reader: Api, bucket: str, size: int, text: str, start: int, end: int | None
) -> None:
    body = POOL[:size]
    writer.put(bucket, "o", body)
    seen = reader.ask("GET", bucket, "o", {"Range": f"bytes={text}"})
    assert (seen.status, seen.body) == (206, body[start:end])
    first = start % size
    assert seen.headers["content-range"] == f"bytes {first}-{first + seen.size - 1}/{size}"


def test_a_range_behind_the_end(writer: Api, reader: Api, bucket: str) -> None:
    writer.put(bucket, "o", BODY)
    seen = reader.ask("GET", bucket, "o", {"Range": "bytes=5000-"})
    assert seen.status == 416
    assert seen.headers["content-range"] == "bytes */5000"


def test_conditional_reads(writer: Api, reader: Api, bucket: str) -> None:
    writer.put(bucket, "o", BODY)
    etag, other = f'"{md5(BODY)}"', f'"{md5(b"")}"'
    past, future = formatdate(1_000_000_000, usegmt=True), formatdate(time.time() - 1, usegmt=True)
    table = [
        ({"If-Match": etag}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": other}, 412),
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": other}, 200),
        ({"If-Modified-Since": past}, 200),
        ({"If-Unmodified-Since": past}, 412),
    ]
    for headers, status in table:
        for method in ("GET", "HEAD"):
            assert reader.ask(method, bucket, "o", headers).status == status, (headers, method)
    unchanged = {"If-None-Match": etag, "If-Modified-Since": future}
    assert reader.ask("GET", bucket, "o", unchanged).body == b""


def test_conditional_writes(writer: Api, reader: Api, bucket: str) -> None:
    only_new = {"If-None-Match": "*"}
    assert writer.put(bucket, "o", b"first", only_new).status in {200, 201}
    assert reader.put(bucket, "o", b"second", only_new).status == 412
    assert writer.ask("GET", bucket, "o").body == b"first"
    reader.ask("DELETE", bucket, "o")
    assert writer.put(bucket, "o", b"third", only_new).status in {200, 201}
    assert reader.ask("GET", bucket, "o").body == b"third"


@pytest.mark.parametrize("size", [3, 200_000])
def test_overwrites_and_deletes_are_seen_at_once(
    writer: Api, reader: Api, bucket: str, size: int
) -> None:
    writer.put(bucket, "o", POOL[:size])
    assert reader.put(bucket, "o", POOL[1 : size + 1]).status in {200, 201}
    assert writer.ask("GET", bucket, "o").body == POOL[1 : size + 1]
    assert writer.listing(bucket) == {"o": Listed(md5(POOL[1 : size + 1]), size)}
    assert reader.ask("DELETE", bucket, "o").status == 204
    for api in (writer, reader):
        assert api.ask("GET", bucket, "o").status == 404
        assert api.ask("HEAD", bucket, "o").status == 404
        assert api.listing(bucket) == {}
        assert api.names(bucket) == []


@pytest.mark.parametrize("size", [3, SIZES[-1]])
def test_copies_keep_everything(
    writer: Api, reader: Api, policy: str, new_name: str, size: int
) -> None:
    writer.make(new_name, policy)
    body = POOL[:size]
    headers = {"Content-Type": "text/x", **CONTENT}
    writer.put(new_name, "from", body, headers, UNICODE_META)
    assert reader.copy(new_name, "from", "to/ü").status in {200, 201}
    for api in (writer, reader):
        seen = api.ask("GET", new_name, "to/ü")
        assert (seen.body, seen.etag, seen.content_type) == (body, md5(body), "text/x")
        assert (seen.kept, seen.meta) == (CONTENT, UNICODE_META)
        assert api.listing(new_name)["to/ü"] == Listed(md5(body), size)


@pytest.mark.parametrize("size", [3, 200_000])
def test_metadata_are_replaced_by_either(writer: Api, reader: Api, bucket: str, size: int) -> None:
    writer.put(bucket, "o", POOL[:size], meta={"a": "1", "b": "2"})
    assert reader.update(bucket, "o", {"c": "3 ü"}).status in {200, 202}
    for api in (writer, reader):
        seen = api.ask("GET", bucket, "o")
        assert (seen.meta, seen.body, seen.etag) == ({"c": "3 ü"}, POOL[:size], md5(POOL[:size]))


@pytest.mark.parametrize("name", NAMES)
def test_names_are_kept_byte_by_byte(writer: Api, reader: Api, bucket: str, name: str) -> None:
    writer.put(bucket, name, name.encode())
    assert reader.ask("GET", bucket, name).body == name.encode()
    assert reader.names(bucket) == [name]
    assert reader.copy(bucket, name, name + "2").status in {200, 201}
    assert writer.ask("GET", bucket, name + "2").body == name.encode()
    for each in (name, name + "2"):
        assert reader.ask("DELETE", bucket, each).status == 204
    assert writer.names(bucket) == []


def test_both_list_in_the_same_order(writer: Api, reader: Api, bucket: str) -> None:
    for name in NAMES:
        writer.put(bucket, name, b"")
    assert reader.names(bucket) == sorted(NAMES, key=str.encode)
    for prefix in ("a", "a/", "%", "ü", "日"):
        expected = sorted((n for n in NAMES if n.startswith(prefix)), key=str.encode)
        assert reader.names(bucket, prefix) == expected
    parted = {n[: n.index("/") + 1] if "/" in n else n for n in NAMES}
    assert reader.names(bucket, delimiter="/") == sorted(parted, key=str.encode)


def test_a_name_and_names_below_it(writer: Api, reader: Api, bucket: str) -> None:
    for name in ("a", "a/b", "a/b/c"):
        writer.put(bucket, name, name.encode())
    for name in ("a", "a/b", "a/b/c"):
        assert reader.ask("GET", bucket, name).body == name.encode()
    assert reader.names(bucket) == ["a", "a/b", "a/b/c"]
    assert reader.names(bucket, "a/", "/") == ["a/b", "a/b/"]
