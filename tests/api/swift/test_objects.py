"""Objects: PUT, GET, HEAD, POST, DELETE, COPY; conditions, ranges, corners."""

import gzip
import hashlib
import re
import socket
import time
from typing import Any

import pytest

from tests.api.swift.conftest import Endpoint
from tests.api.swift.test_accounts import check_common
from tests.api.swift.wire import Wire

BIG = bytes(range(256)) * 1200  # above the inline limit, so that blobs are read


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def test_life_of_an_object(wire: Wire, container: str) -> None:
    path = f"{container}/dir/ü name"
    meta = {"X-Object-Meta-Color": "ü", "X-Object-Meta-Blank": "", "Content-Disposition": "inline"}
    put = wire("PUT", path, headers={"Content-Type": "text/x; charset=x", **meta}, body=b"hello")
    check_common(put)
    assert (put.status, put.headers["etag"], put.body) == (201, md5(b"hello"), b"")
    get = wire("GET", path)
    check_common(get)
    assert (get.status, get.body) == (200, b"hello")
    head = wire("HEAD", path)
    check_common(head)
    assert (head.status, head.body) == (200, b"")
    for answer in (get, head):
        assert answer.headers["content-type"] == "text/x; charset=x"
        assert answer.headers["content-length"] == "5"
        assert answer.headers["etag"] == md5(b"hello")
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["last-modified"] == put.headers["last-modified"]
        assert answer.headers["content-disposition"] == "inline"
        assert answer.headers["x-object-meta-color"] == "ü"
        assert answer.headers["x-object-meta-blank"] == ""
        assert re.fullmatch(r"\d{10}\.\d{5}", answer.headers["x-timestamp"])
    deleted = wire("DELETE", path)
    check_common(deleted)
    assert deleted.status == 204
    for method in ("GET", "HEAD", "DELETE", "POST"):
        missing = wire(method, path)
        check_common(missing)
        assert missing.status == 404


def test_bodies_of_all_sizes_come_back(wire: Wire, container: str) -> None:
    for size in (0, 1, 65_536, 65_537, 1_048_576, 2_500_000):
        data = (BIG * 9)[:size]
        assert wire("PUT", f"{container}/o", body=data).headers["etag"] == md5(data)
        got = wire("GET", f"{container}/o")
        assert (got.status, len(got.body), md5(got.body)) == (200, size, md5(data))


def test_chunked_bodies(wire: Wire, container: str) -> None:
    pieces = [b"a" * 10, b"b" * 100_000, b"c"]
    assert wire("PUT", f"{container}/o", body=iter(pieces)).status == 201
    assert wire("GET", f"{container}/o").body == b"".join(pieces)
    assert wire("PUT", f"{container}/none", body=iter([])).status == 201
    assert wire("GET", f"{container}/none").body == b""


def test_promised_md5(wire: Wire, container: str) -> None:
    path = f"{container}/o"
    for promised in (md5(b"x"), f'"{md5(b"x")}"', md5(b"x").upper()):
        assert wire("PUT", path, headers={"Etag": promised}, body=b"x").status == 201
    for wrong in (md5(b"y"), "nonsense", "*"):
        refused = wire("PUT", path, headers={"Etag": wrong}, body=b"changed")
        check_common(refused)
        assert refused.status == 422
    assert wire("PUT", path, headers={"Etag": md5(b"y")}, body=BIG).status == 422
    assert wire("GET", path).body == b"x"


def test_content_types(wire: Wire, container: str) -> None:
    wire("PUT", f"{container}/a.html", body=b"x")
    assert wire("HEAD", f"{container}/a.html").headers["content-type"] == "text/html"
    headers = {"Content-Type": "a/b", "X-Detect-Content-Type": "true"}
    wire("PUT", f"{container}/b.json", headers=headers, body=b"x")
    assert wire("HEAD", f"{container}/b.json").headers["content-type"] == "application/json"
    wire("PUT", f"{container}/c", body=b"x")
    assert wire("HEAD", f"{container}/c").headers["content-type"] == "application/octet-stream"


def test_what_is_compressed_stays_compressed(wire: Wire, container: str) -> None:
    packed = gzip.compress(b"text " * 1000)
    wire("PUT", f"{container}/o", headers={"Content-Encoding": "gzip"}, body=packed)
    got = wire("GET", f"{container}/o")
    assert (got.body, got.headers["content-encoding"]) == (packed, "gzip")


def test_expect_continue(wire: Wire, container: str) -> None:
    def exchange(path: str) -> tuple[bytes, bytes]:
        """The line after the headers, and the one after a body where it was asked for."""
        with socket.create_connection((wire.host, wire.port), timeout=20) as sock:
            sock.sendall(
                f"PUT /v1/AUTH_demo/{path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {wire.token}\r\n"
                "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            lines = sock.makefile("rb")
            first = lines.readline().strip()
            if b"100" not in first:
                return first, lines.read()
            assert lines.readline() == b"\r\n"
            sock.sendall(b"hello")
            return first, lines.readline().strip()

    assert exchange(f"{container}/o") == (b"HTTP/1.1 100 Continue", b"HTTP/1.1 201 Created")
    assert wire("GET", f"{container}/o").body == b"hello"
    first, rest = exchange("missing/o")
    assert first == b"HTTP/1.1 404 Not Found"
    assert b"connection: close" in rest.lower()


def test_lengths(wire: Wire, container: str) -> None:
    with socket.create_connection((wire.host, wire.port), timeout=20) as sock:
        sock.sendall(
            f"PUT /v1/AUTH_demo/{container}/o HTTP/1.1\r\nHost: x\r\n"
            f"X-Auth-Token: {wire.token}\r\n\r\n".encode()
        )
        assert sock.makefile("rb").readline() == b"HTTP/1.1 411 Length Required\r\n"
    huge = {"Content-Length": str(5 * 1024**3 + 1), "Expect": "100-continue"}
    connection = Wire(wire.host, wire.port)
    assert (
        connection.raw(
            "PUT", f"/v1/AUTH_demo/{container}/o", {**huge, "X-Auth-Token": wire.token}
        ).status
        == 413
    )
    connection.close()


def test_a_body_that_breaks_off_changes_nothing(wire: Wire, container: str) -> None:
    wire("PUT", f"{container}/o", body=b"old")
    with socket.create_connection((wire.host, wire.port), timeout=20) as sock:
        sock.sendall(
            f"PUT /v1/AUTH_demo/{container}/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {wire.token}\r\n"
            "Content-Length: 500000\r\n\r\n".encode()
            + b"x" * 400_000
        )
    assert wire("GET", f"{container}/o").body == b"old"


def test_a_client_that_leaves_early_is_no_fault(wire: Wire, container: str, endpoint: Endpoint) -> None:
    wire("PUT", f"{container}/o", body=bytes(30_000_000))
    with socket.create_connection((wire.host, wire.port), timeout=20) as sock:
        sock.sendall(
            f"GET /v1/AUTH_demo/{container}/o HTTP/1.1\r\nHost: x\r\n"
            f"X-Auth-Token: {wire.token}\r\n\r\n".encode()
        )
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")
    assert wire("HEAD", f"{container}/o").status == 200
    assert endpoint.faults == []


def test_an_unwanted_body_does_not_spoil_the_connection(wire: Wire) -> None:
    for size in (10, 500_000):
        assert wire("PUT", "no-such-container/o", body=b"x" * size).status == 404
        assert wire("GET", query="limit=1").status in (200, 204)


def test_names(wire: Wire, container: str) -> None:
    names = [
        "a",
        "a/b",
        "a/b/c",
        "a//b",
        "/lead",
        "trail/",
        "..",
        "../../x",
        ".",
        "%2F",
        "a?b#c",
        "ü/日",
        "\n\t",
        " ",
    ]
    for name in names:
        assert wire("PUT", f"{container}/{name}", body=name.encode()).status == 201
    for name in names:
        assert wire("GET", f"{container}/{name}").body == name.encode()
    listed = [entry["name"] for entry in wire("GET", container, "format=json").json]
    assert listed == sorted(names, key=str.encode)
    assert wire("PUT", f"{container}/" + "n" * 1024, body=b"x").status == 201
    long = wire("PUT", f"{container}/" + "n" * 1025, body=b"x")
    assert (long.status, long.text) == (400, "Object name length of 1025 longer than 1024\n")
    for bad in ("%00", "a%ff", "%c3%28"):
        target = f"/v1/AUTH_demo/{container}/{bad}"
        refused = wire.raw("PUT", target, {"X-Auth-Token": wire.token}, b"x")
        assert (refused.status, refused.text) == (412, "Invalid UTF8 or contains NULL\n")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Delete-At": "soon"}, 400),
        ({"X-Delete-At": "1"}, 400),
        ({"X-Delete-After": "-5"}, 400),
        ({"X-Object-Meta-A": "v" * 257}, 400),
        ({"X-Object-Manifest": "nonsense"}, 400),
        ({"X-Symlink-Target": "c/o"}, 501),
        ({"Content-Type": "x" * 8193}, 400),
    ],
)
def test_bad_headers_change_nothing(
    wire: Wire, container: str, headers: dict[str, str], status: int
) -> None:
    refused = wire("PUT", f"{container}/o", headers=headers, body=b"x")
    check_common(refused)
    assert refused.status == status
    assert wire("HEAD", f"{container}/o").status == 404


def test_writing_where_nothing_is(wire: Wire) -> None:
    assert wire("PUT", "no-such-container/o", body=b"x").status == 404
    assert wire("GET", "no-such-container/o").status == 404


def test_post_replaces_what_is_said_of_an_object(wire: Wire, container: str) -> None:
    path = f"{container}/o"
    first = {
        "X-Object-Meta-A": "1",
        "Content-Type": "t/a",
        "Content-Encoding": "gzip",
        "X-Delete-After": "999",
    }
    wire("PUT", path, headers=first, body=b"x")
    assert "x-delete-at" in wire("HEAD", path).headers
    posted = wire("POST", path, headers={"X-Object-Meta-B": "2"})
    check_common(posted)
    assert posted.status == 202
    head = wire("HEAD", path).headers
    assert (head["x-object-meta-b"], head["content-type"]) == ("2", "t/a")
    assert not {"x-object-meta-a", "content-encoding", "x-delete-at"} & head.keys()
    assert wire("POST", path, headers={"Content-Type": "t/b", "Content-Disposition": "d"}).status == 202
    head = wire("HEAD", path).headers
    assert (head["content-type"], head["content-disposition"]) == ("t/b", "d")
    assert wire("POST", path, headers={"X-Delete-At": "1"}).status == 400
    assert wire("GET", path).body == b"x"


def test_expiry(wire: Wire, container: str) -> None:
    path = f"{container}/o"
    wire("PUT", path, headers={"X-Delete-At": str(int(time.time()) + 2)}, body=b"x")
    assert wire("GET", path).status == 200
    deadline = time.monotonic() + 10
    while wire("GET", path).status == 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert wire("GET", path).status == 404
    assert wire("HEAD", path).status == 404
    assert wire("GET", container).status == 204


@pytest.mark.parametrize("data", [b"0123456789", BIG])
def test_ranges(wire: Wire, container: str, data: bytes) -> None:
    path = f"{container}/o"
    wire("PUT", path, headers={"Content-Type": "t/x"}, body=data)
    size = len(data)
    for header, piece, shown in (
        ("bytes=2-5", data[2:6], f"bytes 2-5/{size}"),
        ("bytes=5-", data[5:], f"bytes 5-{size - 1}/{size}"),
        ("bytes=-4", data[-4:], f"bytes {size - 4}-{size - 1}/{size}"),
        ("bytes=0-0,99999999-", data[:1], f"bytes 0-0/{size}"),
    ):
        got = wire("GET", path, headers={"Range": header})
        assert (got.status, got.body, got.headers["content-range"]) == (206, piece, shown)
        assert got.headers["content-length"] == str(len(piece))
    refused = wire("GET", path, headers={"Range": f"bytes={size}-"})
    check_common(refused)
    assert (refused.status, refused.headers["content-range"]) == (416, f"bytes */{size}")
    assert wire("GET", path, headers={"Range": "bytes=5-2"}).body == data
    assert wire("GET", path, headers={"Range": "bytes=1-2", "If-Range": '"other"'}).body == data
    matching = {"Range": "bytes=1-2", "If-Range": f'"{md5(data)}"'}
    assert wire("GET", path, headers=matching).body == data[1:3]


@pytest.mark.parametrize("data", [b"0123456789", BIG])
def test_many_ranges(wire: Wire, container: str, data: bytes) -> None:
    wire("PUT", f"{container}/o", headers={"Content-Type": "t/x"}, body=data)
    got = wire("GET", f"{container}/o", headers={"Range": "bytes=0-2,4-4,-1"})
    assert got.status == 206
    kind, _, boundary = got.headers["content-type"].partition(";boundary=")
    assert kind == "multipart/byteranges"
    parts = []
    for content, text in (
        (data[:3], "0-2"),
        (data[4:5], "4-4"),
        (data[-1:], f"{len(data) - 1}-{len(data) - 1}"),
    ):
        head = f"--{boundary}\r\nContent-Type: t/x\r\nContent-Range: bytes {text}/{len(data)}\r\n\r\n"
        parts.append(head.encode() + content + b"\r\n")
    assert got.body == b"".join(parts) + f"--{boundary}--".encode()


def test_conditions(wire: Wire, container: str) -> None:
    path, etag = f"{container}/o", md5(b"x")
    modified = wire("PUT", path, body=b"x").headers["last-modified"]
    old = "Thu, 01 Jan 2015 00:00:00 GMT"
    for headers, status in (
        ({"If-Match": etag}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-None-Match": f'"{etag}"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": "other"}, 200),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Modified-Since": old}, 200),
        ({"If-Unmodified-Since": old}, 412),
        ({"If-Unmodified-Since": modified}, 200),
    ):
        for method in ("GET", "HEAD"):
            answer = wire(method, path, headers=headers)
            assert answer.status == status, (method, headers)
            assert answer.headers.get("etag", etag) == etag
    assert wire("GET", path, headers={"If-None-Match": etag}).body == b""
    assert wire("PUT", path, headers={"If-None-Match": "*"}, body=b"y").status == 412
    assert wire("PUT", path, headers={"If-Match": '"other"'}, body=b"y").status == 412
    assert wire("GET", path).body == b"x"
    assert wire("PUT", path, headers={"If-Match": etag}, body=b"z").status == 201
    assert wire("PUT", f"{container}/new", headers={"If-None-Match": "*"}, body=b"y").status == 201


@pytest.mark.parametrize("data", [b"copied", BIG])
def test_copies(wire: Wire, container: str, data: bytes) -> None:
    source = f"{container}/a ü"
    meta = {
        "X-Object-Meta-A": "1",
        "X-Object-Meta-B": "2",
        "Content-Type": "t/x",
        "Content-Encoding": "gzip",
    }
    put = wire("PUT", source, headers=meta, body=data)
    copied = wire(
        "COPY", source, headers={"Destination": f"/{container}/b%20c", "X-Object-Meta-B": "3"}
    )
    check_common(copied)
    assert copied.status == 201
    assert copied.headers["x-copied-from"] == f"{container}/a%20%C3%BC"
    assert copied.headers["x-copied-from-account"] == "AUTH_demo"
    assert copied.headers["x-copied-from-last-modified"] == put.headers["last-modified"]
    assert copied.headers["etag"] == md5(data)
    got = wire("GET", f"{container}/b c")
    assert got.body == data
    shown = [
        got.headers.get(name)
        for name in ("x-object-meta-a", "x-object-meta-b", "content-type", "content-encoding")
    ]
    assert shown == ["1", "3", "t/x", "gzip"]
    fresh = {
        "X-Copy-From": f"{container}/a%20%C3%BC",
        "X-Fresh-Metadata": "true",
        "X-Object-Meta-C": "4",
        "Content-Length": "0",
    }
    assert wire("PUT", f"{container}/d", headers=fresh).status == 201
    got = wire("GET", f"{container}/d")
    assert (got.body, got.headers["x-object-meta-c"], got.headers["content-type"]) == (data, "4", "t/x")
    assert not {"x-object-meta-a", "content-encoding"} & got.headers.keys()
    ranged = {"X-Copy-From": f"{container}/a%20%C3%BC", "Range": "bytes=1-3", "Content-Length": "0"}
    assert wire("PUT", f"{container}/e", headers=ranged).status == 201
    assert wire("GET", f"{container}/e").body == data[1:4]
    onto_itself = {"Destination": f"{container}/d", "Content-Type": "t/y"}
    assert wire("COPY", f"{container}/d", headers=onto_itself).status == 201
    got = wire("GET", f"{container}/d")
    assert (got.body, got.headers["content-type"]) == (data, "t/y")


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("COPY", {}, 412),
        ("COPY", {"Destination": "nocontainer"}, 412),
        ("COPY", {"Destination": "/c/"}, 412),
        ("COPY", {"Destination": "c/%ff"}, 412),
        ("COPY", {"Destination": "c/o", "Destination-Account": "a/b"}, 412),
        ("COPY", {"Destination": "c/" + "n" * 1025}, 400),
        ("COPY", {"Destination": "no-such/o"}, 404),
        ("COPY", {"Destination": "c/o", "Destination-Account": "AUTH_other"}, 403),
        ("PUT", {"X-Copy-From": "nocontainer", "Content-Length": "0"}, 412),
        ("PUT", {"X-Copy-From": "c/o", "Content-Length": "3"}, 400),
        ("PUT", {"X-Copy-From": "c/none", "Content-Length": "0"}, 404),
        (
            "PUT",
            {"X-Copy-From": "c/o", "X-Copy-From-Account": "AUTH_other", "Content-Length": "0"},
            403,
        ),
    ],
)
def test_bad_copies(
    wire: Wire, container: str, method: str, headers: dict[str, str], status: int
) -> None:
    wire("PUT", f"{container}/o", body=b"x")
    body = b"xyz" if headers.get("Content-Length") == "3" else None
    at = {name: value.replace("c/", f"{container}/", 1) for name, value in headers.items()}
    target = f"{container}/o" if method == "COPY" else f"{container}/new"
    assert wire(method, target, headers=at, body=body).status == status
    assert wire("HEAD", f"{container}/new").status == 404


def test_conditional_copies(wire: Wire, container: str) -> None:
    wire("PUT", f"{container}/o", body=b"x")
    to = {"Destination": f"{container}/p"}
    assert wire("COPY", f"{container}/o", headers={**to, "If-Match": '"other"'}).status == 412
    assert wire("COPY", f"{container}/o", headers={**to, "If-Match": md5(b"x")}).status == 201


def test_methods_that_objects_lack(wire: Wire, container: str) -> None:
    refused = wire("PATCH", f"{container}/o")
    assert (refused.status, refused.headers["allow"]) == (
        405,
        "COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT",
    )
    assert wire("DELETE", f"{container}/o", "version-id=1").status == 501


def test_the_other_api_sees_the_same_object(wire: Wire, container: str, endpoint: Any) -> None:
    wire(
        "PUT",
        f"{container}/o",
        headers={"X-Object-Meta-Color": "blue", "Content-Type": "t/x"},
        body=BIG,
    )
    info = endpoint.run(_head(endpoint.store, container, "o"))
    assert (info.head.meta, info.head.content_type, info.head.etag) == (
        {"color": "blue"},
        "t/x",
        md5(BIG),
    )


async def _head(store: Any, container: str, name: str) -> Any:
    return await store.head_object(await store.container("AUTH_demo", container), name)
