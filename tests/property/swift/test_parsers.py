"""What a client may send: every parser answers, or refuses in Swift's own way, and nothing else."""

import asyncio
import base64
import bz2
import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from typing import TypeVar
from urllib.parse import quote, unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.users import User
from proxy.core.errors import RangeNotSatisfiable
from proxy.core.types import Container, ContainerHead, ObjectHead, ObjectInfo
from proxy.http_conditions import evaluate, format_date, parse_conditions, parse_date, parse_etags
from proxy.http_ranges import ranges_of
from proxy.swift import formats, tempurl
from proxy.swift.access import READ_ACL, WRITE_ACL, Caller, Need, may
from proxy.swift.byte_source import BadCompression, ByteSource, Decompressed
from proxy.swift.copy import parse_location
from proxy.swift.errors import SwiftError
from proxy.swift.metadata import delete_at, manifest_prefix, metadata_changes, object_attributes
from proxy.swift.request import Target, parse_query, parse_target, safe_value
from proxy.swift.slo_manifest import (
    Found,
    manifest_md5,
    parse_manifest,
    parts_of,
    segment_of,
    show_manifest,
    show_raw,
)
from proxy.swift.tar import BadArchive, TarReader, parse_pax

Result = TypeVar("Result")

# what aiohttp makes of header and target bytes: UTF-8 with surrogates for what is not
wire_text = st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30
)
containers = names.filter(lambda name: "/" not in name)


def attempt(read: Callable[[], Result]) -> tuple[Result | None, int]:
    """The result and 0, or the status of Swift's refusal; anything else is a fault."""
    try:
        return read(), 0
    except SwiftError as refusal:
        return None, refusal.status


# -- ranges and conditions ---------------------------------------------------------------------------


@given(st.one_of(wire_text, wire_text.map("bytes={}".format)), st.integers(0, 50))
def test_any_range_header(header: str, size: int) -> None:
    try:
        ranges = ranges_of(header, size)
    except RangeNotSatisfiable:
        return
    for offset, length in ranges or []:
        assert 0 <= offset < size
        assert 1 <= length <= size - offset


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30), st.sampled_from("bas")),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 25),
)
def test_ranges_are_slices(asked: list[tuple[int, int, str]], size: int) -> None:
    data = bytes(range(size))
    specs, expected = [], []
    for first, extra, kind in asked:
        if kind == "b":
            specs.append(f"{first}-{first + extra}")
            expected.append(data[first : first + extra + 1])
        elif kind == "a":
            specs.append(f"{first}-")
            expected.append(data[first:])
        else:
            specs.append(f"-{extra}")
            expected.append(data[size - min(extra, size) :])
    wanted = [piece for piece in expected if piece]
    try:
        ranges = ranges_of("bytes=" + ",".join(specs), size)
    except RangeNotSatisfiable:
        assert not wanted or len(wanted) == 3  # all three may overlap, which is refused
        return
    if ranges is None:
        assert size == 0
        return
    assert [data[offset : offset + length] for offset, length in ranges] == wanted


@given(
    st.dictionaries(
        st.sampled_from(["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"]),
        wire_text,
    )
)
def test_any_conditions(headers: dict[str, str]) -> None:
    evaluate(parse_conditions(headers), "etag", 100)


@given(st.integers(0, 4_000_000_000))
def test_dates_are_those_of_the_standard_library(time_s: int) -> None:
    assert format_date(time_s) == formatdate(time_s, usegmt=True)
    assert parse_date(format_date(time_s)) == time_s


@given(st.lists(st.text(st.characters(exclude_characters='"', exclude_categories=["Cs"])), max_size=5))
def test_quoted_etags_come_back(tags: list[str]) -> None:
    assert parse_etags(", ".join(f'"{tag}"' for tag in tags)) == tuple(tags)


# -- targets, queries, headers -----------------------------------------------------------------------


@given(wire_text)
def test_any_target(text: str) -> None:
    target, status = attempt(lambda: parse_target("/v1/" + text))
    assert status in (0, 404, 412)
    if target is None:
        return
    path = "/".join(["/v1", *target]).rstrip("/").encode()
    assert path == unquote_to_bytes(("/v1/" + text).encode("utf-8", "surrogateescape")).rstrip(b"/")
    assert "\0" not in target.name


@given(containers, containers, names, st.booleans())
def test_any_name_comes_through_percent_encoded(
    account: str, container: str, name: str, slash: bool
) -> None:
    safe = "/" if slash else ""
    path = f"/v1/{quote(account, safe='')}/{quote(container, safe='')}/{quote(name, safe=safe)}"
    assert parse_target(path) == Target(account, container, name)


@given(wire_text)
def test_any_query(text: str) -> None:
    query, status = attempt(lambda: parse_query(text))
    assert status in (0, 400)
    for name, value in (query or {}).items():
        name.encode(), value.encode()


@given(wire_text)
def test_no_header_value_breaks_a_line(text: str) -> None:
    value = safe_value(text)
    value.encode()
    assert not set(value) & set("\r\n\0")


HEADERS = st.dictionaries(
    st.one_of(
        st.sampled_from(
            [
                "X-Object-Manifest",
                "X-Delete-At",
                "X-Delete-After",
                "Content-Type",
                "Content-Encoding",
                "X-Detect-Content-Type",
            ]
        ),
        wire_text.map("X-Object-Meta-{}".format),
        wire_text.map("X-Remove-Container-Meta-{}".format),
        wire_text.map("x-container-meta-{}".format),
    ),
    st.one_of(wire_text, st.integers().map(str)),
    max_size=6,
)


@given(HEADERS)
def test_any_headers_of_a_write(headers: dict[str, str]) -> None:
    reads: tuple[Callable[[], object], ...] = (
        lambda: object_attributes(headers, "name", 1000),
        lambda: metadata_changes(headers, "container"),
        lambda: delete_at(headers, 1000),
        lambda: manifest_prefix(headers),
    )
    assert all(attempt(read)[1] in (0, 400) for read in reads)


@given(wire_text)
def test_any_destination(text: str) -> None:
    location, status = attempt(lambda: parse_location(text, "Destination"))
    assert status in (0, 412)
    if location is not None:
        assert all(location)
        assert "/" not in location[0]


@given(containers, names)
def test_destinations_come_back(container: str, name: str) -> None:
    assert parse_location(quote(f"{container}/{name}"), "Destination") == (container, name)


@given(wire_text, st.sampled_from(["plain", "json", "xml", "x", None]))
def test_any_accept(accept: str, name: str | None) -> None:
    query = {} if name is None else {"format": name}
    wanted, status = attempt(lambda: formats.wanted_format(query, accept))
    assert status in (0, 406)
    assert wanted in (None, "text/plain", "application/json", "application/xml", "text/xml")


# -- who may -----------------------------------------------------------------------------------------

ACL_TEXT = st.one_of(
    wire_text,
    st.lists(
        st.sampled_from(
            [".r:*", ".r:-evil.com", ".rlistings", "other", "other:other", "*:*", "third:*", ".x"]
        )
    ).map(",".join),
)


@given(ACL_TEXT, ACL_TEXT, wire_text)
def test_lists_never_let_nobody_write(read: str, write: str, referer: str) -> None:
    head = ContainerHead(b"i" * 16, 1, "p", 4, system={READ_ACL: read, WRITE_ACL: write})
    container = Container("AUTH_demo", "c", head)
    other = User("other", "AUTH_other", "k", "s", "other:other")
    for caller in (Caller(None, None, referer), Caller(other, None, referer)):
        allowed = {need for need in Need if may(caller, container, need)}
        assert Need.OWN not in allowed
        assert caller.user is not None or Need.WRITE not in allowed


@given(
    st.dictionaries(
        st.sampled_from(["temp_url_sig", "temp_url_expires", "temp_url_ip_range", "filename"]),
        wire_text,
    ),
    wire_text,
)
def test_any_signed_url(query: dict[str, str], key: str) -> None:
    target = Target("AUTH_demo", "c", "o")
    url, status = attempt(lambda: tempurl.parse(query))
    assert status in (0, 401)
    assert url is None or not tempurl.signed_by(url, "GET", target, [key])


# -- manifests ---------------------------------------------------------------------------------------

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["path", "etag", "size_bytes", "range", "data", "x"]), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=100), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_manifest(body: bytes) -> None:
    _, status = attempt(lambda: parse_manifest(body, ("c", "o")))
    assert status in (0, 400, 413)


@st.composite
def good_manifests(draw: st.DrawFn) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            entries.append({"data": base64.b64encode(draw(st.binary(min_size=1, max_size=9))).decode()})
            continue
        entry: dict[str, object] = {"path": f"/{draw(containers)}/{draw(names)}"}
        if draw(st.booleans()):
            entry["range"] = draw(st.sampled_from(["0-4", "5-", "-3"]))
        entries.append(entry)
    return [*entries, {"path": "/always/one"}]


@given(good_manifests())
def test_a_manifest_shown_raw_makes_the_same_manifest(entries: list[dict[str, object]]) -> None:
    segments = parse_manifest(json.dumps(entries).encode(), ("own", "path"))
    found = {
        (segment.container, segment.name): Found(
            ObjectInfo(segment.name, ObjectHead("e", 10, 0, "t"), b""), ""
        )
        for segment in segments
        if segment.name
    }
    parts, problems = parts_of(segments, found)
    assert problems == []
    again, _ = parts_of(parse_manifest(show_raw(parts), ("own", "path")), found)
    assert again == parts
    assert manifest_md5(again) == manifest_md5(parts)
    assert [segment_of(part).name for part in parts] == [segment.name for segment in segments]
    assert len(json.loads(show_manifest(parts))) == len(entries)


# -- archives ----------------------------------------------------------------------------------------


def source(data: bytes, piece: int) -> ByteSource:
    pieces = iter([data[at : at + piece] for at in range(0, len(data), piece)])

    async def read() -> bytes:
        return next(pieces, b"")

    return ByteSource(read)


async def unpack(reader: TarReader) -> list[tuple[str, bytes]]:
    found = []
    while (entry := await reader.next_entry()) is not None:
        if entry.regular:
            found.append((entry.name, await reader.body.read_all()))
    return found


@given(
    st.lists(st.tuples(names, st.binary(max_size=1500)), max_size=4),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.integers(100, 5000),
)
def test_any_archive_is_read_as_the_standard_library_wrote_it(
    files: list[tuple[str, bytes]], format_: int, piece: int
) -> None:
    files = [(name.rstrip("/") or "x", data) for name, data in files]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as tar:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    assert asyncio.run(unpack(TarReader(source(out.getvalue(), piece)))) == files


@given(st.binary(max_size=2000), st.integers(0, 1500), st.binary(max_size=200))
def test_a_damaged_archive_is_refused_or_read(noise: bytes, at: int, patch: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("ü" * 60)
        entry.size = len(noise)
        tar.addfile(entry, io.BytesIO(noise))
    data = out.getvalue()
    damaged = data[:at] + patch + data[at + len(patch) :]
    try:
        asyncio.run(unpack(TarReader(source(damaged, 999))))
    except BadArchive:
        return


@given(st.binary(max_size=200))
def test_any_pax_header(data: bytes) -> None:
    try:
        parse_pax(data)
    except BadArchive:
        return


@given(
    st.sampled_from(["gz", "bz2"]), st.binary(max_size=300), st.integers(0, 60), st.binary(max_size=5)
)
def test_damaged_compression(compression: str, data: bytes, at: int, patch: bytes) -> None:
    packed = gzip.compress(data, mtime=0) if compression == "gz" else bz2.compress(data)
    damaged = packed[:at] + patch + packed[at + len(patch) :]

    async def drain() -> bytes:
        body = source(damaged, 7)
        reader = Decompressed(lambda: body.some(7), compression)
        return b"".join([piece async for piece in aiter_of(reader)])

    try:
        asyncio.run(drain())
    except BadCompression:
        return


async def aiter_of(reader: Decompressed) -> AsyncIterator[bytes]:
    while piece := await reader.read():
        yield piece
