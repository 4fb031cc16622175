"""Static and dynamic large objects over HTTP, and S3's multipart objects seen from here."""

import base64
import hashlib
import json
from typing import Any

import pytest

from proxy.core.types import CompletedPart, ObjectAttributes
from tests.api.swift.test_accounts import check_common
from tests.api.swift.wire import Answer, Wire
from tests.grid import BytesBody

SEGMENTS = {"s/1": b"a" * 100_000, "s/2": b"b" * 10, "s/3": b"0123456789"}
WHOLE = b"".join(SEGMENTS.values())


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def joined_md5(*etags: str) -> str:
    return md5("".join(etags).encode())


def put_manifest(wire: Wire, path: str, entries: object, **headers: str) -> Answer:
    body = json.dumps(entries).encode()
    return wire("PUT", path, "multipart-manifest=put", headers=headers, body=body)


@pytest.fixture
def segments(wire: Wire, container: str) -> str:
    for name, data in SEGMENTS.items():
        assert (
            wire("PUT", f"{container}/{name}", headers={"Content-Type": "t/seg"}, body=data).status
            == 201
        )
    return container


def entries(container: str) -> list[dict[str, object]]:
    return [
        {"path": f"/{container}/{name}", "etag": md5(data), "size_bytes": len(data)}
        for name, data in SEGMENTS.items()
    ]


# -- static ------------------------------------------------------------------------------------------


def test_life_of_a_static_manifest(wire: Wire, segments: str) -> None:
    path = f"{segments}/whole.txt"
    etag = joined_md5(*map(md5, SEGMENTS.values()))
    put = put_manifest(wire, path, entries(segments), **{"X-Object-Meta-A": "1", "Etag": f'"{etag}"'})
    check_common(put)
    assert (put.status, put.headers["etag"]) == (201, f'"{etag}"')
    got = wire("GET", path)
    assert (got.status, got.body) == (200, WHOLE)
    head = wire("HEAD", path)
    for answer in (got, head):
        assert answer.headers["etag"] == f'"{etag}"'
        assert answer.headers["content-length"] == str(len(WHOLE))
        assert answer.headers["x-static-large-object"] == "True"
        assert answer.headers["content-type"] == "text/plain"
        assert answer.headers["x-object-meta-a"] == "1"
    crossing = wire("GET", path, headers={"Range": "bytes=99998-100012"})
    assert (crossing.status, crossing.body) == (206, WHOLE[99_998:100_013])
    many = wire("GET", path, headers={"Range": "bytes=0-1,100005-100011"})
    assert many.status == 206
    assert b"\r\n\r\naa\r\n" in many.body
    assert b"\r\n\r\nbbbbb01\r\n" in many.body
    assert wire("GET", path, headers={"If-None-Match": f'"{etag}"'}).status == 304
    listed = {entry["name"]: entry for entry in wire("GET", segments, "format=json").json}
    assert listed["whole.txt"]["bytes"] == len(WHOLE)
    assert listed["whole.txt"]["slo_etag"] == f'"{etag}"'
    assert wire("POST", path, headers={"X-Object-Meta-B": "2"}).status == 202
    posted = wire("HEAD", path).headers
    assert (posted["x-static-large-object"], posted["x-object-meta-b"]) == ("True", "2")
    assert wire("DELETE", path).status == 204
    assert wire("GET", f"{segments}/s/1").body == SEGMENTS["s/1"]


def test_the_manifest_itself(wire: Wire, segments: str) -> None:
    path = f"{segments}/m"
    asked = entries(segments)
    asked[0]["range"] = "5-14"
    put_manifest(wire, path, [*asked, {"data": base64.b64encode(b"inline").decode()}])
    shown = wire("GET", path, "multipart-manifest=get")
    assert shown.headers["content-type"] == "application/json; charset=utf-8"
    assert shown.headers["etag"] == md5(shown.body)
    assert shown.headers["x-static-large-object"] == "True"
    first = shown.json[0]
    assert first.pop("last_modified")
    assert first == {
        "name": f"/{segments}/s/1",
        "hash": md5(SEGMENTS["s/1"]),
        "bytes": 100_000,
        "content_type": "t/seg",
        "range": "5-14",
    }
    raw = wire("GET", path, "multipart-manifest=get&format=raw")
    assert raw.json[0] == asked[0]
    again = wire("PUT", f"{segments}/again", "multipart-manifest=put", body=raw.body)
    assert again.headers["etag"] == wire("HEAD", path).headers["etag"]
    assert wire("GET", f"{segments}/again").body == b"a" * 10 + WHOLE[100_000:] + b"inline"
    listed = {entry["name"]: entry for entry in wire("GET", segments, "format=json").json}
    assert listed["m"]["hash"] == md5(shown.body)
    own = {"If-None-Match": md5(shown.body)}
    assert wire("GET", path, "multipart-manifest=get", own).status == 304
    head = wire("HEAD", path, "multipart-manifest=get")
    assert head.headers["content-length"] == str(len(shown.body))


def test_manifests_in_manifests(wire: Wire, segments: str) -> None:
    put_manifest(wire, f"{segments}/inner", entries(segments))
    outer = [{"path": f"/{segments}/inner", "range": "99999-"}, {"path": f"/{segments}/inner"}]
    assert put_manifest(wire, f"{segments}/outer", outer).status == 201
    assert wire("GET", f"{segments}/outer").body == WHOLE[99_999:] + WHOLE
    shown = wire("GET", f"{segments}/outer", "multipart-manifest=get").json
    assert [entry.get("sub_slo") for entry in shown] == [True, True]
    report = wire(
        "DELETE", f"{segments}/outer", "multipart-manifest=delete", {"Accept": "application/json"}
    )
    assert report.json["Number Deleted"] == 5
    assert wire("GET", segments).status == 204


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"etag": "0" * 32}, "Etag Mismatch"),
        ({"size_bytes": 11}, "Size Mismatch"),
        ({"range": "10-"}, "Unsatisfiable Range"),
        ({"path": "/{}/s/none"}, "404 Not Found"),
        ({"path": "/no-such-container/o"}, "404 Not Found"),
        ({"path": "/{}/empty"}, "Too small"),
    ],
)
def test_segments_that_are_not_as_promised(
    wire: Wire, segments: str, change: dict[str, Any], problem: str
) -> None:
    wire("PUT", f"{segments}/empty", body=b"")
    bad = {"path": f"/{segments}/s/3", **change}
    bad["path"] = bad["path"].format(segments)
    refused = put_manifest(wire, f"{segments}/m", [*entries(segments), bad], Accept="application/json")
    check_common(refused)
    assert refused.status == 400
    assert len(refused.json["Errors"]) == 1
    assert refused.json["Errors"][0][0] == bad["path"]
    assert refused.json["Errors"][0][1].startswith(problem)
    assert wire("HEAD", f"{segments}/m").status == 404


def test_bad_manifests_change_nothing(wire: Wire, segments: str) -> None:
    path = f"{segments}/m"
    for body, status in (
        (b"", 400),
        (b"{}", 400),
        (b"[]", 400),
        (b'[{"path": 1}]', 400),
        (b" " * 2**23 + b"[]", 413),
    ):
        refused = wire("PUT", path, "multipart-manifest=put", body=body)
        assert refused.status == status, body[:20]
    assert put_manifest(wire, path, entries(segments), Etag="0" * 32).status == 422
    assert put_manifest(wire, path, entries(segments) * 400).status == 413
    assert wire("HEAD", path).status == 404
    assert put_manifest(wire, "no-such-container/m", entries(segments)).status == 404


def test_a_segment_that_changed_is_a_conflict_not_other_bytes(wire: Wire, segments: str) -> None:
    put_manifest(wire, f"{segments}/m", entries(segments))
    wire("PUT", f"{segments}/s/1", body=b"A" * 100_000)
    assert wire("GET", f"{segments}/m").status == 409
    assert wire("GET", f"{segments}/m", headers={"Range": "bytes=100000-100002"}).body == b"bbb"
    wire("DELETE", f"{segments}/s/1")
    assert wire("GET", f"{segments}/m").status == 409


def test_a_static_manifest_is_deleted_with_its_segments(wire: Wire, segments: str) -> None:
    path = f"{segments}/m"
    put_manifest(wire, path, entries(segments))
    wire("DELETE", f"{segments}/s/2")
    report = wire("DELETE", path, "multipart-manifest=delete")
    assert report.status == 200
    assert report.headers["transfer-encoding"] == "chunked"
    assert report.text.split("\n")[:4] == [
        "Number Deleted: 3",
        "Number Not Found: 1",
        "Response Status: 200 OK",
        "Response Body: ",
    ]
    assert wire("GET", segments).status == 204
    gone = wire("DELETE", path, "multipart-manifest=delete", {"Accept": "application/json"})
    assert (gone.json["Number Deleted"], gone.json["Number Not Found"]) == (0, 1)
    wire("PUT", path, body=b"plain")
    plain = wire("DELETE", path, "multipart-manifest=delete", {"Accept": "application/json"})
    assert plain.json["Errors"] == [[f"/{path}", "400 Bad Request"]]
    assert wire("GET", path).body == b"plain"


def test_copies_of_static_manifests(wire: Wire, segments: str) -> None:
    put_manifest(wire, f"{segments}/m", entries(segments), **{"X-Object-Meta-A": "1"})
    to = {"Destination": f"{segments}/content"}
    assert wire("COPY", f"{segments}/m", headers=to).status == 201
    head = wire("HEAD", f"{segments}/content").headers
    assert "x-static-large-object" not in head
    assert (head["etag"], head["x-object-meta-a"]) == (md5(WHOLE), "1")
    to = {"Destination": f"{segments}/manifest"}
    assert wire("COPY", f"{segments}/m", "multipart-manifest=get", to).status == 201
    head = wire("HEAD", f"{segments}/manifest").headers
    assert (head["x-static-large-object"], head["x-object-meta-a"]) == ("True", "1")
    assert wire("GET", f"{segments}/manifest").body == WHOLE
    wire("DELETE", f"{segments}/s/1")
    assert wire("COPY", f"{segments}/m", "multipart-manifest=get", to).status == 400
    assert wire("GET", f"{segments}/content").body == WHOLE


# -- dynamic -----------------------------------------------------------------------------------------


def test_life_of_a_dynamic_manifest(wire: Wire, segments: str) -> None:
    path = f"{segments}/whole"
    manifest = {"X-Object-Manifest": f"{segments}/s%2F", "Content-Type": "t/x"}
    assert wire("PUT", path, headers=manifest, body=b"own").status == 201
    etag = f'"{joined_md5(*map(md5, SEGMENTS.values()))}"'
    got, head = wire("GET", path), wire("HEAD", path)
    assert got.body == WHOLE
    for answer in (got, head):
        assert answer.headers["etag"] == etag
        assert answer.headers["content-length"] == str(len(WHOLE))
        assert answer.headers["x-object-manifest"] == f"{segments}/s/"
        assert answer.headers["content-type"] == "t/x"
    assert wire("GET", path, headers={"Range": "bytes=-12"}).body == WHOLE[-12:]
    assert wire("GET", path, "multipart-manifest=get").body == b"own"
    wire("PUT", f"{segments}/s/4", body=b"!")
    assert wire("GET", path).body == WHOLE + b"!"
    assert wire("COPY", path, headers={"Destination": f"{segments}/content"}).status == 201
    assert "x-object-manifest" not in wire("HEAD", f"{segments}/content").headers
    assert wire("GET", f"{segments}/content").body == WHOLE + b"!"
    assert (
        wire("COPY", path, "multipart-manifest=get", {"Destination": f"{segments}/copy"}).status == 201
    )
    assert wire("HEAD", f"{segments}/copy").headers["x-object-manifest"] == f"{segments}/s/"
    assert wire("POST", path, headers=manifest).status == 202
    assert wire("GET", path).body == WHOLE + b"!"
    assert wire("POST", path).status == 202
    assert wire("GET", path).body == b"own"
    assert wire("DELETE", path).status == 204
    assert wire("GET", f"{segments}/s/1").status == 200


def test_a_dynamic_manifest_of_nothing(wire: Wire, container: str) -> None:
    wire("PUT", f"{container}/o", headers={"X-Object-Manifest": f"{container}/none"}, body=b"")
    got = wire("GET", f"{container}/o")
    assert (got.status, got.body) == (200, b"")
    wire("PUT", f"{container}/p", headers={"X-Object-Manifest": "no-such-container/none"}, body=b"")
    assert wire("GET", f"{container}/p").status in (200, 404)


def test_who_may_write_one_container_cannot_read_another_by_a_manifest(
    wire: Wire, stranger: Wire, segments: str
) -> None:
    stranger.account = "AUTH_demo"
    assert (
        wire(
            "PUT",
            "shared",
            headers={"X-Container-Write": "other:other", "X-Container-Read": "other:other"},
        ).status
        == 201
    )
    manifest = {"X-Object-Manifest": f"{segments}/s/"}
    assert stranger("PUT", "shared/o", headers=manifest, body=b"").status == 201
    assert stranger("GET", "shared/o").status == 403
    assert stranger("HEAD", "shared/o").status == 403
    assert put_manifest(stranger, "shared/slo", entries(segments)).status == 400
    assert wire("GET", "shared/o").body == WHOLE
    for name in ("shared/o", "shared"):
        assert wire("DELETE", name).status == 204


# -- S3's ---------------------------------------------------------------------------------------------


def test_multipart_objects_look_like_static_manifests(
    wire: Wire, container: str, endpoint: Any
) -> None:
    parts = [b"x" * 2000, b"y" * 70_000]
    endpoint.run(upload(endpoint.store, container, parts))
    got = wire("GET", f"{container}/multi")
    assert got.body == b"".join(parts)
    assert got.headers["x-static-large-object"] == "True"
    assert got.headers["etag"].startswith('"')
    assert got.headers["etag"].endswith('-2"')
    assert wire("GET", f"{container}/multi", headers={"Range": "bytes=1999-2000"}).body == b"xy"
    assert wire("GET", f"{container}/multi", "multipart-manifest=get").json == []
    assert wire("COPY", f"{container}/multi", headers={"Destination": f"{container}/one"}).status == 201
    assert wire("HEAD", f"{container}/one").headers["etag"] == md5(b"".join(parts))
    assert put_manifest(wire, f"{container}/slo", [{"path": f"/{container}/multi"}]).status == 201
    assert wire("GET", f"{container}/slo").body == b"".join(parts)
    report = wire(
        "DELETE", f"{container}/multi", "multipart-manifest=delete", {"Accept": "application/json"}
    )
    assert report.json["Number Deleted"] == 1


async def upload(store: Any, container_name: str, parts: list[bytes]) -> None:
    container = await store.container("AUTH_demo", container_name)
    head = await store.create_upload(container, "multi", ObjectAttributes("t/x"))
    done = []
    for number, data in enumerate(parts, 1):
        part = await store.put_part(container, "multi", head.id, number, BytesBody(data))
        done.append(CompletedPart(number, part.etag))
    await store.complete_upload(container, "multi", head.id, done)
