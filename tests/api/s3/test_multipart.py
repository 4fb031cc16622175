"""Multipart uploads and copies. The endpoint's smallest part has 1 KiB."""

import hashlib
import os
from typing import Any

import pytest

from tests.api.s3.conftest import Endpoint, refused
from tests.api.s3.wire import Wire, path_of

PART = 200_000


def begin(s3: Any, bucket: str, key: str = "m", **extra: Any) -> str:
    return str(s3.create_multipart_upload(Bucket=bucket, Key=key, **extra)["UploadId"])


def send(s3: Any, bucket: str, upload: str, parts: list[bytes], **extra: Any) -> list[dict[str, Any]]:
    done = []
    for number, data in enumerate(parts, 1):
        sent = s3.upload_part(
            Bucket=bucket, Key="m", UploadId=upload, PartNumber=number, Body=data, **extra
        )
        assert sent["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
        kept = {name: value for name, value in sent.items() if name.startswith("Checksum")}
        done.append({"PartNumber": number, "ETag": sent["ETag"], **kept})
    return done


def complete(s3: Any, bucket: str, upload: str, parts: list[dict[str, Any]], **extra: Any) -> Any:
    return s3.complete_multipart_upload(
        Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": parts}, **extra
    )


def test_a_multipart_object(s3: Any, bucket: str) -> None:
    data = [os.urandom(PART), os.urandom(PART * 2), b"end"]
    upload = begin(s3, bucket, ContentType="text/m", Metadata={"a": "b"})
    parts = send(s3, bucket, upload, data)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    done = complete(s3, bucket, upload, parts)
    digest = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in data)).hexdigest()
    assert done["ETag"] == f'"{digest}-3"'
    assert done["Location"].endswith(f"/{bucket}/m")
    got = s3.get_object(Bucket=bucket, Key="m")
    assert got["Body"].read() == b"".join(data)
    assert (got["ContentType"], got["Metadata"], got["ETag"]) == ("text/m", {"a": "b"}, done["ETag"])
    for number, part in enumerate(data, 1):
        piece = s3.get_object(Bucket=bucket, Key="m", PartNumber=number)
        assert piece["Body"].read() == part
        assert piece["PartsCount"] == 3
        head = s3.head_object(Bucket=bucket, Key="m", PartNumber=number)
        assert (head["ContentLength"], head["PartsCount"]) == (len(part), 3)
    with refused("InvalidPartNumber", 416):
        s3.get_object(Bucket=bucket, Key="m", PartNumber=4)
    with refused("InvalidRequest", 400):
        s3.get_object(Bucket=bucket, Key="m", PartNumber=1, Range="bytes=0-1")
    ranged = s3.get_object(Bucket=bucket, Key="m", Range=f"bytes={PART - 5}-{PART + 4}")
    assert ranged["Body"].read() == b"".join(data)[PART - 5 : PART + 5]
    assert complete(s3, bucket, upload, parts)["ETag"] == done["ETag"]
    with refused("NoSuchUpload", 404):
        s3.list_parts(Bucket=bucket, Key="m", UploadId=upload)


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("CRC32", "COMPOSITE"),
        ("CRC32", "FULL_OBJECT"),
        ("CRC32C", "FULL_OBJECT"),
        ("CRC64NVME", "FULL_OBJECT"),
        ("SHA1", "COMPOSITE"),
        ("SHA256", "COMPOSITE"),
    ],
)
def test_checksums_of_multipart_objects(s3: Any, bucket: str, algorithm: str, kind: str) -> None:
    data = [os.urandom(PART), os.urandom(5)]
    upload = begin(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    parts = send(s3, bucket, upload, data, ChecksumAlgorithm=algorithm)
    field = f"Checksum{algorithm}"
    listed = s3.list_parts(Bucket=bucket, Key="m", UploadId=upload)
    assert [part[field] for part in listed["Parts"]] == [part[field] for part in parts]
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == (algorithm, kind)
    done = complete(s3, bucket, upload, parts)
    assert done["ChecksumType"] == kind
    assert done[field].endswith("-2") == (kind == "COMPOSITE")
    if kind == "FULL_OBJECT":
        whole = s3.put_object(
            Bucket=bucket, Key="same", Body=b"".join(data), ChecksumAlgorithm=algorithm
        )
        assert done[field] == whole[field]
    got = s3.get_object(Bucket=bucket, Key="m", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"".join(data)
    assert (got[field], got["ChecksumType"]) == (done[field], kind)
    attributes = s3.get_object_attributes(
        Bucket=bucket, Key="m", ObjectAttributes=["Checksum", "ObjectParts"], MaxParts=1
    )
    assert attributes["Checksum"][field] == done[field]
    assert attributes["ObjectParts"]["TotalPartsCount"] == 2
    assert attributes["ObjectParts"]["IsTruncated"] is True
    assert [part["PartNumber"] for part in attributes["ObjectParts"]["Parts"]] == [1]


def test_promised_checksums_of_the_object(s3: Any, bucket: str) -> None:
    data = [os.urandom(PART), b"rest"]
    upload = begin(s3, bucket, ChecksumAlgorithm="CRC64NVME")
    parts = send(s3, bucket, upload, data, ChecksumAlgorithm="CRC64NVME")
    with refused("BadDigest", 400):
        complete(s3, bucket, upload, parts, ChecksumCRC64NVME="AAAAAAAAAAA=")
    with refused("InvalidRequest", 400):
        complete(s3, bucket, upload, parts, ChecksumCRC32="AAAAAA==")
    with refused("BadDigest", 400):
        complete(s3, bucket, upload, parts, ChecksumType="COMPOSITE")
    whole = s3.put_object(Bucket=bucket, Key="same", Body=b"".join(data), ChecksumAlgorithm="CRC64NVME")
    done = complete(s3, bucket, upload, parts, ChecksumCRC64NVME=whole["ChecksumCRC64NVME"])
    assert done["ChecksumCRC64NVME"] == whole["ChecksumCRC64NVME"]


def test_a_part_with_another_checksum_is_refused(s3: Any, bucket: str) -> None:
    upload = begin(s3, bucket, ChecksumAlgorithm="SHA256")
    with refused("InvalidRequest", 400):
        send(s3, bucket, upload, [b"x"], ChecksumAlgorithm="CRC32")
    assert "Parts" not in s3.list_parts(Bucket=bucket, Key="m", UploadId=upload)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda parts: [parts[1], parts[0]], "InvalidPartOrder"),
        (lambda parts: [parts[0], parts[0]], "InvalidPartOrder"),
        (lambda parts: [*parts, {"PartNumber": 9, "ETag": '"00"'}], "InvalidPart"),
        (lambda parts: [{**parts[0], "ETag": parts[1]["ETag"]}, parts[1]], "InvalidPart"),
        (lambda parts: [{**parts[0], "ChecksumCRC32": "AAAAAA=="}, parts[1]], "InvalidPart"),
    ],
    ids=["order", "twice", "missing", "etag", "checksum"],
)
def test_wrong_parts(s3: Any, bucket: str, change: Any, code: str) -> None:
    upload = begin(s3, bucket, ChecksumAlgorithm="CRC32")
    parts = send(s3, bucket, upload, [b"x" * PART, b"y" * PART], ChecksumAlgorithm="CRC32")
    with refused(code, 400):
        complete(s3, bucket, upload, change(parts))
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    complete(s3, bucket, upload, parts)


def test_small_parts_and_sizes(s3: Any, bucket: str) -> None:
    upload = begin(s3, bucket)
    parts = send(s3, bucket, upload, [b"small", b"end"])
    with refused("EntityTooSmall", 400):
        complete(s3, bucket, upload, parts)
    parts = send(s3, bucket, upload, [b"x" * 2000, b"end"])
    with pytest.raises(s3.exceptions.ClientError):
        complete(s3, bucket, upload, parts, MpuObjectSize=7)
    complete(s3, bucket, upload, parts, MpuObjectSize=2003)


def test_conditional_completion(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="m", Body=b"first")
    upload = begin(s3, bucket)
    parts = send(s3, bucket, upload, [b"second"])
    with refused("PreconditionFailed", 412):
        complete(s3, bucket, upload, parts, IfNoneMatch="*")
    assert s3.get_object(Bucket=bucket, Key="m")["Body"].read() == b"first"
    etag = s3.head_object(Bucket=bucket, Key="m")["ETag"]
    complete(s3, bucket, upload, parts, IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="m")["Body"].read() == b"second"


def test_abort(s3: Any, bucket: str) -> None:
    upload = begin(s3, bucket)
    parts = send(s3, bucket, upload, [b"x" * PART])
    s3.abort_multipart_upload(Bucket=bucket, Key="m", UploadId=upload)
    for call in (
        lambda: complete(s3, bucket, upload, parts),
        lambda: send(s3, bucket, upload, [b"x"]),
        lambda: s3.list_parts(Bucket=bucket, Key="m", UploadId=upload),
        lambda: s3.abort_multipart_upload(Bucket=bucket, Key="m", UploadId=upload),
    ):
        with refused("NoSuchUpload", 404):
            call()
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_listings_of_uploads_and_parts(s3: Any, bucket: str) -> None:
    keys = ["a", "b/1", "b/2", "c d"]
    uploads = {key: begin(s3, bucket, key) for key in keys}
    page = s3.list_multipart_uploads(Bucket=bucket)
    assert [(entry["Key"], entry["UploadId"]) for entry in page["Uploads"]] == list(uploads.items())
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["b/"]
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 1}
    )
    assert [entry["Key"] for page in pages for entry in page.get("Uploads", [])] == keys
    upload = begin(s3, bucket)
    send(s3, bucket, upload, [b"x"] * 5)
    pages = list(
        s3.get_paginator("list_parts").paginate(
            Bucket=bucket, Key="m", UploadId=upload, PaginationConfig={"PageSize": 2}
        )
    )
    assert [[part["PartNumber"] for part in page["Parts"]] for page in pages] == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize("number", ["0", "10001", "x", "-1", ""])
def test_bad_part_numbers(s3: Any, bucket: str, wire: Wire, number: str) -> None:
    upload = begin(s3, bucket)
    reply = wire("PUT", f"/{bucket}/m?partNumber={number}&uploadId={upload}", b"x")
    assert (reply.status, reply.code) == (400, "InvalidArgument")


def test_ten_thousand_parts(s3: Any, bucket: str, endpoint: Endpoint, wire: Wire) -> None:
    """The parts go in by the core, for time's sake; the complete request is the client's."""
    from tests.grid import BytesBody

    upload = begin(s3, bucket)
    data = b"p" * 1024

    async def fill() -> str:
        container = await endpoint.store.container("AUTH_demo", bucket)
        etag = ""
        for number in range(1, 10_001):
            body = BytesBody(data)
            part = await endpoint.store.put_part(container, "m", upload, number, body)
            etag = part.etag
        return etag

    etag = endpoint.run(fill())
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"
        for number in range(1, 10_001)
    )
    document = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    reply = wire("POST", f"/{bucket}/m?uploadId={upload}", document)
    assert reply.status == 200, reply.body
    assert s3.get_object(Bucket=bucket, Key="m")["Body"].read() == data * 10_000


# -- copies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_copy(s3: Any, bucket: str, size: int) -> None:
    data = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="s +\u00fc", Body=data, ContentType="text/s", Metadata={"m": "1"})
    source = {"Bucket": bucket, "Key": "s +\u00fc"}
    done = s3.copy_object(Bucket=bucket, Key="t", CopySource=source)
    assert done["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="t")
    assert got["Body"].read() == data
    assert (got["ContentType"], got["Metadata"]) == ("text/s", {"m": "1"})
    s3.copy_object(
        Bucket=bucket,
        Key="t",
        CopySource=source,
        MetadataDirective="REPLACE",
        Metadata={"n": "2"},
        ContentType="text/t",
    )
    got = s3.get_object(Bucket=bucket, Key="t")
    assert got["Body"].read() == data
    assert (got["ContentType"], got["Metadata"]) == ("text/t", {"n": "2"})


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_copy_onto_itself_changes_metadata(s3: Any, bucket: str, size: int) -> None:
    data = os.urandom(size)
    etag = s3.put_object(Bucket=bucket, Key="i", Body=data, Metadata={"m": "1"})["ETag"]
    source = {"Bucket": bucket, "Key": "i"}
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket=bucket, Key="i", CopySource=source)
    for extra in ({}, {"CopySourceIfMatch": etag}):
        s3.copy_object(
            Bucket=bucket,
            Key="i",
            CopySource=source,
            MetadataDirective="REPLACE",
            Metadata={"n": "2"},
            **extra,
        )
        got = s3.get_object(Bucket=bucket, Key="i")
        assert got["Body"].read() == data
        assert (got["Metadata"], got["ETag"]) == ({"n": "2"}, etag)


def test_conditions_of_copies(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="s", Body=b"x")["ETag"]
    source = {"Bucket": bucket, "Key": "s"}
    for extra in ({"CopySourceIfMatch": '"no"'}, {"CopySourceIfNoneMatch": etag}):
        with refused("PreconditionFailed", 412):
            s3.copy_object(Bucket=bucket, Key="t", CopySource=source, **extra)
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=bucket, Key="t", CopySource={"Bucket": bucket, "Key": "none"})
    with refused("NoSuchBucket", 404):
        s3.copy_object(Bucket=bucket, Key="t", CopySource={"Bucket": "none-such", "Key": "s"})
    s3.copy_object(Bucket=bucket, Key="t", CopySource=source, CopySourceIfMatch=etag, IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.copy_object(Bucket=bucket, Key="t", CopySource=source, IfNoneMatch="*")


def test_a_copy_with_a_checksum_of_its_own(s3: Any, bucket: str) -> None:
    data = os.urandom(100_000)
    s3.put_object(Bucket=bucket, Key="s", Body=data, ChecksumAlgorithm="CRC32", Metadata={"m": "1"})
    source = {"Bucket": bucket, "Key": "s"}
    done = s3.copy_object(Bucket=bucket, Key="t", CopySource=source, ChecksumAlgorithm="SHA256")
    whole = s3.put_object(Bucket=bucket, Key="u", Body=data, ChecksumAlgorithm="SHA256")
    assert done["CopyObjectResult"]["ChecksumSHA256"] == whole["ChecksumSHA256"]
    got = s3.get_object(Bucket=bucket, Key="t", ChecksumMode="ENABLED")
    assert got["Body"].read() == data
    assert got["ChecksumSHA256"] == whole["ChecksumSHA256"]
    assert got["Metadata"] == {"m": "1"}
    kept = s3.copy_object(Bucket=bucket, Key="v", CopySource=source)
    assert "ChecksumCRC32" in kept["CopyObjectResult"]


def test_parts_copied_from_objects(s3: Any, bucket: str) -> None:
    data = os.urandom(1_000_000)
    s3.put_object(Bucket=bucket, Key="s", Body=data)
    upload = begin(s3, bucket, ChecksumAlgorithm="CRC32C", ChecksumType="FULL_OBJECT")
    parts = []
    for number, text in enumerate(("bytes=0-499999", "bytes=600000-999999"), 1):
        done = s3.upload_part_copy(
            Bucket=bucket,
            Key="m",
            UploadId=upload,
            PartNumber=number,
            CopySource={"Bucket": bucket, "Key": "s"},
            CopySourceRange=text,
        )["CopyPartResult"]
        assert "ChecksumCRC32C" in done
        parts.append({"PartNumber": number, "ETag": done["ETag"]})
    with refused("InvalidRange", 416):
        s3.upload_part_copy(
            Bucket=bucket,
            Key="m",
            UploadId=upload,
            PartNumber=3,
            CopySource={"Bucket": bucket, "Key": "s"},
            CopySourceRange="bytes=0-1000000",
        )
    for extra in ({"CopySourceIfMatch": '"no"'}, {"CopySourceIfNoneMatch": "*"}):
        with refused("PreconditionFailed", 412):
            s3.upload_part_copy(
                Bucket=bucket,
                Key="m",
                UploadId=upload,
                PartNumber=2,
                CopySource={"Bucket": bucket, "Key": "s"},
                **extra,
            )
    complete(s3, bucket, upload, parts)
    got = s3.get_object(Bucket=bucket, Key="m", ChecksumMode="ENABLED")
    assert got["Body"].read() == data[:500_000] + data[600_000:]


def test_odd_copy_sources(wire: Wire, bucket: str) -> None:
    assert wire("PUT", path_of(bucket, "a+b c"), b"x").status == 200
    for source in (f"/{bucket}/a%2Bb%20c", f"{bucket}/a%2Bb+c"):
        reply = wire("PUT", f"/{bucket}/t", headers={"x-amz-copy-source": source})
        assert reply.status == 200, reply.body
    reply = wire("PUT", f"/{bucket}/t", headers={"x-amz-copy-source": "nothing"})
    assert reply.code == "InvalidArgument"
