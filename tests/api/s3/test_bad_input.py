"""Bad input: S3's own error, nothing changed, and a connection that still works or is closed."""

import base64
import datetime
import hashlib
import socket
import time
import zlib
from typing import Any

import pytest

from proxy.s3.body import DOCUMENT_MAX_BYTES
from tests.api.s3.conftest import Endpoint, make_client, refused
from tests.api.s3.wire import Reply, Wire, signed_headers

CHUNKED_UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def nothing_there(s3: Any, bucket: str) -> bool:
    return "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize(
    "target", ["/{b}/%FF", "/{b}/%00", "/{b}/a%00b", "/{b}/%zz", "/{b}/%", "/{b}/%ED%A0%80", "//k"]
)
def test_targets_that_are_no_keys(s3: Any, bucket: str, wire: Wire, target: str) -> None:
    reply = wire("PUT", target.format(b=bucket), b"x")
    assert reply.status == 400
    assert reply.code in ("InvalidURI", "InvalidBucketName")
    assert nothing_there(s3, bucket)


def test_keys_have_a_limit(s3: Any, bucket: str, wire: Wire) -> None:
    for key in ("k" * 1025, "%C3%BC" * 513):
        assert wire("PUT", f"/{bucket}/{key}", b"x").code == "KeyTooLongError"
        assert wire("GET", f"/{bucket}/{key}").code == "KeyTooLongError"
    assert nothing_there(s3, bucket)


# -- who asks ----------------------------------------------------------------------------------


def test_signatures(wire: Wire, bucket: str, endpoint: Endpoint) -> None:
    assert wire("GET", f"/{bucket}", keys=("nobody", "x")).code == "InvalidAccessKeyId"
    assert wire("GET", f"/{bucket}", keys=("demo-key", "wrong")).code == "SignatureDoesNotMatch"
    headers = signed_headers(wire.url, "GET", f"/{bucket}")
    cases = [
        ({"Authorization": "AWS4-HMAC-SHA256 nonsense"}, 400, "AuthorizationHeaderMalformed"),
        ({"Authorization": "Bearer x"}, 400, "InvalidArgument"),
        ({"X-Amz-Date": "yesterday"}, 403, "AccessDenied"),
        ({"X-Amz-Date": "20200101T000000Z"}, 403, "RequestTimeTooSkewed"),
        ({"X-Amz-Content-SHA256": "nonsense"}, 400, "InvalidArgument"),
        ({"x-amz-slipped-in": "1"}, 403, "AccessDenied"),
    ]
    for change, status, code in cases:
        reply = wire("GET", f"/{bucket}", headers={**headers, **change}, signed=False)
        assert (reply.status, reply.code) == (status, code), change
    assert wire("GET", f"/{bucket}").status == 200


def test_presigned(s3: Any, endpoint: Endpoint, bucket: str, wire: Wire) -> None:
    for version in ("s3v4", "s3"):
        client: Any = make_client(endpoint, signature_version=version)
        put = client.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "p \u00fc"})
        get = client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "p \u00fc"})
        target = put.removeprefix(endpoint.url)
        assert wire("PUT", target, b"presigned", signed=False).status == 200
        assert wire("GET", get.removeprefix(endpoint.url), signed=False).body == b"presigned"
        assert wire("DELETE", target, signed=False).code == "SignatureDoesNotMatch"
        broken = get.removeprefix(endpoint.url).replace("Signature=", "Signature=0")
        assert wire("GET", broken, signed=False).code == "SignatureDoesNotMatch"
        client.close()


# -- bodies ------------------------------------------------------------------------------------


def test_digests(s3: Any, bucket: str, wire: Wire) -> None:
    good = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    cases: list[tuple[dict[str, str], str]] = [
        ({"Content-MD5": base64.b64encode(b"0" * 16).decode()}, "BadDigest"),
        ({"Content-MD5": "not base64"}, "InvalidDigest"),
        ({"Content-MD5": ""}, "InvalidDigest"),
        ({"x-amz-checksum-crc32": crc32(b"other")}, "BadDigest"),
        ({"x-amz-checksum-crc32": "AAAA"}, "InvalidRequest"),
        ({"x-amz-checksum-crc99": "AAAA"}, "InvalidRequest"),
        ({"x-amz-sdk-checksum-algorithm": "CRC32"}, "InvalidRequest"),
        (
            {"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": crc32(b"x")},
            "InvalidRequest",
        ),
    ]
    for headers, code in cases:
        reply = wire("PUT", f"/{bucket}/d", b"x", headers)
        assert (reply.status, reply.code) == (400, code), headers
        assert nothing_there(s3, bucket)
    assert wire("PUT", f"/{bucket}/d", b"x", payload="0" * 64).code == "XAmzContentSHA256Mismatch"
    assert nothing_there(s3, bucket)
    assert wire("PUT", f"/{bucket}/d", b"x", {"Content-MD5": good}).status == 200
    assert wire("PUT", f"/{bucket}/d", b"x", payload=hashlib.sha256(b"x").hexdigest()).status == 200


@pytest.mark.parametrize("size", [10, 200_000, 3_000_000])
def test_digests_of_large_bodies(s3: Any, bucket: str, wire: Wire, size: int) -> None:
    body = b"b" * size
    assert wire("PUT", f"/{bucket}/d", body, payload="0" * 64).code == "XAmzContentSHA256Mismatch"
    wrong = {"x-amz-checksum-crc32": crc32(body[1:])}
    assert wire("PUT", f"/{bucket}/d", body, wrong).code == "BadDigest"
    assert nothing_there(s3, bucket)
    right = {"x-amz-checksum-crc32": crc32(body)}
    digest = hashlib.sha256(body).hexdigest()
    assert wire("PUT", f"/{bucket}/d", body, right, payload=digest).status == 200
    assert wire("GET", f"/{bucket}/d").body == body


def trailing(wire: Wire, target: str, body: bytes, length: int | str, **extra: str) -> Reply:
    headers = {
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": str(length),
        "Content-Encoding": "aws-chunked",
        **extra,
    }
    return wire("PUT", target, body, headers, payload=CHUNKED_UNSIGNED)


def chunked(data: bytes, trailer: str) -> bytes:
    framed = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
    return framed + b"0\r\n" + trailer.encode() + b"\r\n\r\n"


def test_aws_chunked(s3: Any, bucket: str, wire: Wire) -> None:
    target = f"/{bucket}/t"
    good = chunked(b"data", f"x-amz-checksum-crc32:{crc32(b'data')}")
    cases: list[tuple[bytes, int | str, str]] = [
        (chunked(b"data", f"x-amz-checksum-crc32:{crc32(b'other')}"), 4, "BadDigest"),
        (chunked(b"data", "x-amz-checksum-crc32:short"), 4, "InvalidRequest"),
        (chunked(b"data", ""), 4, "MalformedTrailerError"),
        (chunked(b"data", "x-amz-checksum-sha1:AAAA"), 4, "MalformedTrailerError"),
        (good, 5, "IncompleteBody"),
        (good, 3, "IncompleteBody"),
        (good[:-7], 4, ""),
        (b"no framing at all\r\n", 4, "InvalidRequest"),
        (b"ffffffffffffffff\r\ndata", 4, ""),
        (good, "many", "InvalidArgument"),
    ]
    for body, length, code in cases:
        reply = trailing(wire, target, body, length)
        assert reply.status == 400, (body, reply)
        assert not code or reply.code == code, (body, reply)
        assert nothing_there(s3, bucket)
    assert trailing(wire, target, good, 4).status == 200
    got = wire("GET", target)
    assert got.body == b"data"
    assert "Content-Encoding" not in got.headers


def test_aws_chunked_without_its_length(s3: Any, bucket: str, wire: Wire) -> None:
    reply = wire("PUT", f"/{bucket}/t", b"0\r\n\r\n", payload=CHUNKED_UNSIGNED)
    assert (reply.status, reply.code) == (411, "MissingContentLength")


def test_lengths(s3: Any, bucket: str, wire: Wire) -> None:
    reply = wire("PUT", f"/{bucket}/l")  # neither Content-Length nor chunked
    assert (reply.status, reply.code) == (411, "MissingContentLength")
    too_large = {"Content-Length": str(5 * 1024**3 + 1)}
    reply = wire("PUT", f"/{bucket}/l", b"", too_large)
    assert (reply.status, reply.code) == (400, "EntityTooLarge")
    assert reply.headers["Connection"] == "close"
    assert nothing_there(s3, bucket)


def test_chunked_transfer_is_taken(wire: Wire, bucket: str) -> None:
    body = b"5\r\nhello\r\n0\r\n\r\n"
    assert wire("PUT", f"/{bucket}/c", body, {"Transfer-Encoding": "chunked"}).status == 200
    assert wire("GET", f"/{bucket}/c").body == b"hello"


def test_a_body_cut_short_changes_nothing(s3: Any, endpoint: Endpoint, bucket: str) -> None:
    for size, sent in ((1000, 10), (5_000_000, 3_000_000)):
        headers = signed_headers(endpoint.url, "PUT", f"/{bucket}/cut", {"Content-Length": str(size)})
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"PUT /{bucket}/cut HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\n{lines}\r\n"
        with socket.create_connection((endpoint.host, endpoint.port)) as connection:
            connection.sendall(head.encode() + b"x" * sent)
    time.sleep(0.2)
    assert nothing_there(s3, bucket)


# -- the connection afterwards -----------------------------------------------------------------


def test_small_bodies_of_refused_requests_leave_the_connection_usable(wire: Wire, bucket: str) -> None:
    wire.connection.auto_open = False
    wire.connection.connect()
    for _ in range(3):
        reply = wire("PUT", f"/{bucket}/x", b"y" * 100_000, keys=("demo-key", "wrong"))
        assert reply.code == "SignatureDoesNotMatch"
    assert wire("PUT", f"/{bucket}/x", b"good").status == 200


def test_a_refused_request_that_expects_100_gets_no_100(endpoint: Endpoint, bucket: str) -> None:
    for target, status in ((f"/{bucket}/%FF", b"400"), ("/none-such/x", b"404")):
        headers = signed_headers(
            endpoint.url, "PUT", target, {"Content-Length": "5", "Expect": "100-continue"}
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"PUT {target} HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\n{lines}\r\n"
        with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
            connection.sendall(head.encode())
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert b"Connection: close" in answer


def test_an_admitted_request_that_expects_100_gets_one(endpoint: Endpoint, bucket: str) -> None:
    target = f"/{bucket}/expected"
    headers = signed_headers(
        endpoint.url, "PUT", target, {"Content-Length": "5", "Expect": "100-continue"}
    )
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"PUT {target} HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\n{lines}\r\n"
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


# -- documents ---------------------------------------------------------------------------------

BOMB = b"""<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<Delete><Object><Key>&b;</Key></Object></Delete>"""


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "MalformedXML"),
        (b"<Delete>", "MalformedXML"),
        (b"<Wrong/>", "MalformedXML"),
        (b"<Delete/>", "MalformedXML"),
        (b"<Delete>" + b"<Object><Key>a</Key></Object>" * 1001 + b"</Delete>", "MalformedXML"),
        (BOMB, "MalformedXML"),
        (b"<Delete>" + b"x" * (9 * 1024 * 1024), "MaxMessageLengthExceeded"),
    ],
    ids=["empty", "open", "wrong", "none", "many", "bomb", "huge"],
)
def test_documents_of_delete(s3: Any, bucket: str, wire: Wire, document: bytes, code: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"stays")
    md5 = {"Content-MD5": base64.b64encode(hashlib.md5(document).digest()).decode()}
    reply = wire("POST", f"/{bucket}?delete", document, md5)
    assert (reply.status, reply.code) == (400, code)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"stays"


def test_delete_needs_a_digest_that_is_right(s3: Any, bucket: str, wire: Wire) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"stays")
    document = b"<Delete><Object><Key>a</Key></Object></Delete>"
    assert wire("POST", f"/{bucket}?delete", document).code == "InvalidRequest"
    wrong = {"Content-MD5": base64.b64encode(b"0" * 16).decode()}
    assert wire("POST", f"/{bucket}?delete", document, wrong).code == "BadDigest"
    wrong = {"x-amz-checksum-crc32": crc32(b"other")}
    assert wire("POST", f"/{bucket}?delete", document, wrong).code == "BadDigest"
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"stays"


def test_documents_of_unknown_length_have_a_limit(endpoint: Endpoint) -> None:
    size = 2 * DOCUMENT_MAX_BYTES
    headers = signed_headers(endpoint.url, "PUT", "/endless", {"Transfer-Encoding": "chunked"})
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"PUT /endless HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\n{lines}\r\n"
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(head.encode() + b"%x\r\n" % size + b" " * size + b"\r\n")
        answer = connection.recv(65536)  # while the document is still under way
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"MaxMessageLengthExceeded" in answer


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<CompleteMultipartUpload/>",
        b"<CompleteMultipartUpload><Part><ETag>x</ETag></Part></CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>one</PartNumber><ETag>x</ETag></Part>"
        b"</CompleteMultipartUpload>",
    ],
    ids=range(5),
)
def test_documents_of_complete(s3: Any, bucket: str, wire: Wire, document: bytes) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"x")
    assert wire("POST", f"/{bucket}/m?uploadId={upload}", document).code == "MalformedXML"
    assert nothing_there(s3, bucket)
    assert len(s3.list_parts(Bucket=bucket, Key="m", UploadId=upload)["Parts"]) == 1


@pytest.mark.parametrize("document", [b"<", b"<Wrong/>", BOMB])
def test_documents_of_create_bucket(s3: Any, wire: Wire, document: bytes) -> None:
    assert wire("PUT", "/from-bad-xml", document).code == "MalformedXML"
    with refused("404", 404):
        s3.head_bucket(Bucket="from-bad-xml")


# -- methods and uploads -----------------------------------------------------------------------


def test_methods(wire: Wire, bucket: str) -> None:
    for method, target, status, code in [
        ("PATCH", f"/{bucket}/a", 405, "MethodNotAllowed"),
        ("PUT", "/", 405, "MethodNotAllowed"),
        ("OPTIONS", f"/{bucket}/a", 501, "NotImplemented"),
        ("POST", f"/{bucket}", 501, "NotImplemented"),
        ("GET", f"/{bucket}/a?torrent", 501, "NotImplemented"),
        ("PUT", f"/{bucket}?policy", 501, "NotImplemented"),
        ("DELETE", f"/{bucket}/a?tagging", 501, "NotImplemented"),
        ("GET", f"/{bucket}?acl&policy", 400, "InvalidArgument"),
        ("PUT", f"/{bucket}/a?uploadId=x", 400, "InvalidRequest"),
    ]:
        reply = wire(method, target, b"")
        assert (reply.status, reply.code) == (status, code), (method, target)
    assert "GET" in wire("PATCH", f"/{bucket}/a", b"").headers["Allow"]


def test_uploads_that_are_not_there(wire: Wire, bucket: str) -> None:
    for upload in ("none", "", "%2F..%2F", "x" * 2000, "0" * 32):
        for method, query in (("PUT", "partNumber=1&"), ("GET", ""), ("DELETE", "")):
            reply = wire(method, f"/{bucket}/m?{query}uploadId={upload}", b"x")
            assert (reply.status, reply.code) == (404, "NoSuchUpload"), (method, upload)


def test_errors_of_head_have_no_body(wire: Wire, bucket: str) -> None:
    reply = wire("HEAD", f"/{bucket}/none")
    assert (reply.status, reply.body) == (404, b"")
    assert reply.headers["x-amz-request-id"]


def test_metadata_that_are_no_text_are_refused(s3: Any, bucket: str, wire: Wire) -> None:
    reply = wire("PUT", f"/{bucket}/m", b"x", {"x-amz-meta-a": "\u00ff"})  # goes out as latin-1
    assert (reply.status, reply.code) in ((400, "InvalidArgument"), (403, "SignatureDoesNotMatch"))
    assert nothing_there(s3, bucket)


def test_dates_in_conditions_that_are_no_dates_are_ignored(s3: Any, wire: Wire, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    now = datetime.datetime.now(datetime.UTC).isoformat()
    assert wire("GET", f"/{bucket}/a", headers={"If-Modified-Since": now}).body == b"x"


def test_an_empty_body_that_expects_100_gets_it(endpoint: Endpoint, bucket: str) -> None:
    """botocore misreads the next answer on a connection whose empty PUT was answered without it."""
    target = f"/{bucket}/expected"
    headers = signed_headers(
        endpoint.url, "PUT", target, {"Content-Length": "0", "Expect": "100-continue"}
    )
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"PUT {target} HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\n{lines}\r\n"
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = b""
        while b"ETag" not in answer:
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
