"""Bulk deletes and archives."""

import bz2
import gzip
import io
import tarfile
from xml.etree import ElementTree

import pytest

from tests.api.swift.wire import Answer, Wire

JSON = {"Accept": "application/json"}


def archive(files: dict[str, bytes], **pax: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.pax_headers = {f"SCHILY.xattr.user.{key}": value for key, value in pax.items()}
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def extract(wire: Wire, path: str, data: bytes, kind: str = "tar", **headers: str) -> Answer:
    return wire("PUT", path, f"extract-archive={kind}", headers={**JSON, **headers}, body=data)


# -- deletes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_bulk_delete(wire: Wire, method: str) -> None:
    wire("PUT", "bulk")
    for name in ("a", "b/ü c", "d"):
        wire("PUT", f"bulk/{name}", body=b"x")
    body = b"/bulk/a\nbulk/b/%C3%BC%20c\n\n/bulk/none\n/bulk\n/bulk/d\n/no-such/o\n/bulk"
    answer = wire(method, "", "bulk-delete", {**JSON, "Content-Type": "text/plain"}, body)
    assert answer.status == 200
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.headers
    assert answer.json == {
        "Number Deleted": 4,
        "Number Not Found": 2,
        "Response Status": "400 Bad Request",
        "Response Body": "",
        "Errors": [["/bulk", "409 Conflict"]],
    }
    assert wire("HEAD", "bulk").status == 404


def test_reports_of_bulk_deletes(wire: Wire, container: str) -> None:
    empty = wire("POST", "", "bulk-delete", JSON, b"")
    assert empty.json["Response Status"] == "400 Bad Request"
    assert empty.json["Response Body"] == "Invalid bulk delete."
    bad = wire("POST", "", "bulk-delete", JSON, f"/{container}/%00\n/{container}/a%ff\n/\n".encode())
    assert [status for _, status in bad.json["Errors"]] == [
        "412 Precondition Failed",
        "412 Precondition Failed",
        "400 Bad Request",
    ]
    xml = wire("POST", "", "bulk-delete", {"Accept": "text/xml"}, f"/{container}/none".encode())
    root = ElementTree.fromstring(xml.body)  # noqa: S314 - our own
    assert root.findtext("number_not_found") == "1"
    text = wire("POST", "", "bulk-delete", body=f"/{container}/none".encode())
    assert text.text.startswith("Number Deleted: 0\nNumber Not Found: 1\n")
    long = wire("POST", "", "bulk-delete", JSON, b"/c/" + b"x" * 5000)
    assert long.json["Response Status"] == "400 Bad Request"


def test_the_limit_of_bulk_deletes(wire: Wire, container: str) -> None:
    wire("PUT", f"{container}/o", body=b"x")
    lines = [f"/no-such-container/{n}" for n in range(10_000)]
    lines[5000] = f"/{container}/o"
    report = wire("POST", "", "bulk-delete", JSON, "\n".join(lines).encode()).json
    assert (report["Number Deleted"], report["Number Not Found"]) == (1, 9999)
    over = wire("POST", "", "bulk-delete", JSON, "\n".join([*lines, "/one/more"]).encode()).json
    assert over["Response Status"] == "413 Request Entity Too Large"
    assert over["Response Body"] == "Maximum Bulk Deletes: 10000 per request"


def test_strangers_delete_nothing(wire: Wire, stranger: Wire, nobody: Wire, container: str) -> None:
    wire("PUT", f"{container}/o", body=b"x")
    body = f"/{container}/o\n/{container}".encode()
    stranger.account = "AUTH_demo"
    refused = stranger("POST", "", "bulk-delete", JSON, body).json
    assert refused["Errors"] == [
        [f"/{container}/o", "403 Forbidden"],
        [f"/{container}", "403 Forbidden"],
    ]
    refused = nobody("POST", "", "bulk-delete", JSON, body).json
    assert [status for _, status in refused["Errors"]] == ["401 Unauthorized"] * 2
    assert wire("GET", f"{container}/o").body == b"x"
    wire("POST", container, headers={"X-Container-Write": "other:other"})
    assert stranger("POST", "", "bulk-delete", JSON, body).json["Number Deleted"] == 1


# -- archives ----------------------------------------------------------------------------------------

FILES = {"one.txt": b"1" * 10, "dir/two.json": b"2" * 100_000, "dir/ü": b""}


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("tar", archive(FILES)),
        ("tar.gz", gzip.compress(archive(FILES))),
        ("tar.bz2", bz2.compress(archive(FILES))),
    ],
)
def test_archives_below_a_path(wire: Wire, container: str, kind: str, data: bytes) -> None:
    answer = extract(wire, f"{container}/up", data, kind)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.json == {
        "Number Files Created": 3,
        "Response Status": "201 Created",
        "Response Body": "",
        "Errors": [],
    }
    for name, content in FILES.items():
        assert wire("GET", f"{container}/up/{name}").body == content
    assert wire("HEAD", f"{container}/up/dir/two.json").headers["content-type"] == "application/json"


def test_archives_make_containers(wire: Wire) -> None:
    data = archive({"./arc1/a": b"1", "/arc2/b/c": b"2", "beside": b"3"})
    assert extract(wire, "", data).json["Number Files Created"] == 2
    assert wire("GET", "arc1/a").body == b"1"
    assert wire("GET", "arc2/b/c").body == b"2"
    assert (
        wire("POST", "", "bulk-delete", JSON, b"/arc1/a\n/arc2/b/c\n/arc1\n/arc2").json[
            "Number Deleted"
        ]
        == 4
    )


def test_metadata_of_archived_files(wire: Wire, container: str) -> None:
    data = archive({"a": b"1"}, **{"mime_type": "x/y", "meta.Color": "blue"})
    extract(wire, container, data, **{"X-Delete-After": "1000", "Content-Disposition": "inline"})
    head = wire("HEAD", f"{container}/a").headers
    assert (head["content-type"], head["x-object-meta-color"]) == ("x/y", "blue")
    assert (head["content-disposition"], "x-delete-at" in head) == ("inline", True)
    extract(wire, container, data, **{"X-Detect-Content-Type": "true"})
    assert wire("HEAD", f"{container}/a").headers["content-type"] == "application/octet-stream"


def test_archives_that_are_not_whole(wire: Wire, container: str) -> None:
    whole = archive({"a": b"x" * 3000, "b": b"y" * 3000})
    cut = extract(wire, container, whole[:5000]).json
    assert (cut["Response Status"], cut["Number Files Created"]) == ("400 Bad Request", 1)
    assert cut["Response Body"].startswith("Invalid Tar File")
    assert wire("GET", f"{container}/a").body == b"x" * 3000
    assert wire("HEAD", f"{container}/b").status == 404
    for data, kind in (
        (b"no archive" * 100, "tar"),
        (whole, "tar.gz"),
        (whole, "tar.bz2"),
        (b"", "tar"),
    ):
        report = extract(wire, container, data, kind).json
        assert report["Response Status"] == "400 Bad Request"
        assert report["Response Body"].startswith("Invalid Tar File")


def test_files_that_cannot_be_stored(wire: Wire, container: str) -> None:
    report = extract(wire, container, archive({"n" * 1025: b"x", "good": b"y"})).json
    assert report["Number Files Created"] == 1
    assert report["Errors"] == [[f"{container}/" + "n" * 1025, "400 Bad Request"]]
    assert report["Response Status"] == "400 Bad Request"
    missing = extract(wire, "no-such-container", archive({"a": b"x"})).json
    assert missing["Errors"] == [["no-such-container/a", "404 Not Found"]]
    assert wire("PUT", container, "extract-archive=zip", body=b"x").status == 400
    assert extract(wire, container, archive({"a": b"x"}), **{"X-Delete-At": "1"}).status == 400


def test_strangers_upload_nothing(wire: Wire, stranger: Wire, nobody: Wire, container: str) -> None:
    stranger.account = "AUTH_demo"
    data = archive({"a": b"x"})
    assert extract(stranger, container, data).json["Errors"] == [[f"{container}/a", "403 Forbidden"]]
    assert extract(nobody, container, data).json["Response Status"] == "401 Unauthorized"
    assert extract(stranger, "", archive({"newc/a": b"x"})).json["Number Files Created"] == 0
    assert wire("HEAD", f"{container}/a").status == 404
    assert wire("HEAD", "newc").status == 404
