"""Objects through boto3, as any user of it sees them."""

import datetime
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.api.s3.conftest import refused
from tests.api.s3.wire import Wire, path_of

SIZES = [0, 1, 4096, 65_536, 65_537, 1 << 20, 9_000_001]

ODD_KEYS = [
    "a/../b",
    "../up",
    "./here",
    "//double//slash",
    "/leading",
    "trailing/",
    "space and+plus",
    "per%2Fcent%25",
    "q?u=e&r#y;=",
    "\u00fc\u4e2d\U0001f600",
    "e\u0301 is not \u00e9",
    "quote\"'<>&",
    "back\\slash",
    "~!*'()-._@:,$",
    "line\nfeed\rreturn\ttab",
    "\x01\x1f\x7f",
    "k" * 1024,
    "\u00fc" * 512,
]


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_as_they_went(s3: Any, bucket: str, size: int) -> None:
    data = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="a", Body=data)
    assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="a")
    assert got["Body"].read() == data
    assert got["ContentLength"] == size
    assert got["ETag"] == put["ETag"]
    head = s3.head_object(Bucket=bucket, Key="a")
    assert (head["ContentLength"], head["ETag"]) == (size, put["ETag"])
    assert abs((datetime.datetime.now(datetime.UTC) - head["LastModified"]).total_seconds()) < 60


@pytest.mark.parametrize("key", ODD_KEYS, ids=range(len(ODD_KEYS)))
def test_odd_keys_are_kept_bit_by_bit(s3: Any, bucket: str, wire: Wire, key: str) -> None:
    assert wire("PUT", path_of(bucket, key), key.encode()).status == 200
    assert wire("GET", path_of(bucket, key)).body == key.encode()
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == [key]
    assert wire("DELETE", path_of(bucket, key)).status == 204
    assert wire("GET", path_of(bucket, key)).code == "NoSuchKey"


def test_a_key_and_keys_below_it(s3: Any, bucket: str) -> None:
    for key in ("a", "a/b", "a/b/c"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in ("a", "a/b", "a/b/c"):
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()


def test_metadata_and_content_headers(s3: Any, bucket: str) -> None:
    given = {
        "ContentType": "text/x; charset=utf-8",
        "CacheControl": "max-age=7",
        "ContentDisposition": 'attachment; filename="x"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
    }
    expires = datetime.datetime(2040, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    meta = {"one": "1", "two-words": "a  b", "empty": ""}
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", Metadata=meta, Expires=expires, **given)
    whole = s3.get_object(Bucket=bucket, Key="a")
    assert whole["Body"].read() == b"x"
    for got in (whole, s3.head_object(Bucket=bucket, Key="a")):
        assert {name: got[name] for name in given} == given
        assert got["ExpiresString"] == "Wed, 02 Jan 2040 03:04:05 GMT" or got["Expires"] == expires
        assert got["Metadata"] == meta


def test_gzip_stays_gzip(wire: Wire, bucket: str) -> None:
    headers = {"Content-Encoding": "gzip"}
    assert wire("PUT", f"/{bucket}/z", b"\x1f\x8b not really", headers).status == 200
    assert wire("GET", f"/{bucket}/z").body == b"\x1f\x8b not really"


def test_metadata_have_a_limit(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="fits", Body=b"", Metadata={"k": "v" * 2047})
    with refused("MetadataTooLarge", 400):
        s3.put_object(Bucket=bucket, Key="big", Body=b"", Metadata={"k": "v" * 2048})


def test_ranges(s3: Any, bucket: str) -> None:
    for size in (1000, 3_000_000):
        data = os.urandom(size)
        s3.put_object(Bucket=bucket, Key="r", Body=data)
        for text, low, high in [
            ("bytes=0-0", 0, 1),
            ("bytes=5-9", 5, 10),
            (f"bytes={size - 1}-", size - 1, size),
            ("bytes=-7", size - 7, size),
            (f"bytes=10-{size * 2}", 10, size),
        ]:
            got = s3.get_object(Bucket=bucket, Key="r", Range=text)
            assert got["Body"].read() == data[low:high]
            assert got["ContentRange"] == f"bytes {low}-{high - 1}/{size}"
            assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
            head = s3.head_object(Bucket=bucket, Key="r", Range=text)
            assert head["ContentLength"] == high - low
        with refused("InvalidRange", 416):
            s3.get_object(Bucket=bucket, Key="r", Range=f"bytes={size}-")
        assert len(s3.get_object(Bucket=bucket, Key="r", Range="bytes=0-1,5-6")["Body"].read()) == size


def test_conditional_reads(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="c", Body=b"x", CacheControl="private")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="c")["LastModified"]
    earlier = modified - datetime.timedelta(seconds=5)
    assert s3.get_object(Bucket=bucket, Key="c", IfMatch=etag)["Body"].read() == b"x"
    assert s3.get_object(Bucket=bucket, Key="c", IfModifiedSince=earlier)["Body"].read() == b"x"
    for call in (s3.get_object, s3.head_object):
        code = "PreconditionFailed" if call == s3.get_object else "412"
        with refused(code, 412):
            call(Bucket=bucket, Key="c", IfMatch='"other"')
        with refused(code, 412):
            call(Bucket=bucket, Key="c", IfUnmodifiedSince=earlier)
        with pytest.raises(ClientError) as caught:
            call(Bucket=bucket, Key="c", IfNoneMatch=etag)
        answer: Any = caught.value.response["ResponseMetadata"]
        assert answer["HTTPStatusCode"] == 304
        assert answer["HTTPHeaders"]["etag"] == etag
        assert "content-length" not in answer["HTTPHeaders"]


def test_conditional_writes(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="w", Body=b"1", IfNoneMatch="*")["ETag"]
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="w", Body=b"2", IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="w", Body=b"2", IfMatch='"0123"')
    with refused("NoSuchKey", 404):
        s3.put_object(Bucket=bucket, Key="absent", Body=b"2", IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="w")["Body"].read() == b"1"
    s3.put_object(Bucket=bucket, Key="w", Body=b"2", IfMatch=etag)
    with refused("PreconditionFailed", 412):
        s3.delete_object(Bucket=bucket, Key="w", IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="w")["Body"].read() == b"2"


def test_of_many_conditional_puts_one_wins(s3: Any, bucket: str) -> None:
    def attempt(number: int) -> str:
        try:
            s3.put_object(Bucket=bucket, Key="one", Body=b"%d" % number, IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "done"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, range(16)))
    assert set(outcomes) <= {"done", "PreconditionFailed", "ConditionalRequestConflict"}
    assert outcomes.count("done") == 1
    assert s3.get_object(Bucket=bucket, Key="one")["Body"].read() == b"%d" % outcomes.index("done")


def test_response_overrides(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="o", Body=b"x")
    got = s3.get_object(
        Bucket=bucket,
        Key="o",
        ResponseContentType="text/other",
        ResponseCacheControl="no-cache",
        ResponseContentDisposition="inline; filename=\u00fc",
        ResponseContentLanguage="fr",
    )
    assert got["Body"].read() == b"x"
    assert got["ContentType"] == "text/other"
    assert got["CacheControl"] == "no-cache"
    assert got["ContentLanguage"] == "fr"
    with refused("InvalidArgument", 400):
        s3.get_object(Bucket=bucket, Key="o", ResponseContentType="a\r\nX-Evil: 1")


def test_deleting_what_is_not_there_is_success(s3: Any, bucket: str) -> None:
    assert s3.delete_object(Bucket=bucket, Key="none")["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_delete_objects(s3: Any, bucket: str) -> None:
    for number in range(20):
        s3.put_object(Bucket=bucket, Key=f"d/{number}<&>", Body=b"x")
    keys = [{"Key": f"d/{number}<&>"} for number in range(20)] + [{"Key": "never there"}]
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
    assert [entry["Key"] for entry in done["Deleted"]] == [entry["Key"] for entry in keys]
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_delete_objects_tells_each_failure(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="stays", Body=b"x")
    s3.put_object(Bucket=bucket, Key="goes", Body=b"x")
    objects = [
        {"Key": "goes", "VersionId": "null"},
        {"Key": "stays", "ETag": '"0123"'},
        {"Key": "stays", "VersionId": "another"},
        {"Key": "k" * 1025},
    ]
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    assert "Deleted" not in done
    codes = [entry["Code"] for entry in done["Errors"]]
    assert codes == ["PreconditionFailed", "NotImplemented", "KeyTooLongError"]
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["stays"]


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
@pytest.mark.parametrize("size", [0, 5000, 3_000_000])
def test_checksums(s3: Any, bucket: str, algorithm: str, size: int) -> None:
    data = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="c", Body=data, ChecksumAlgorithm=algorithm)
    field = f"Checksum{algorithm}"
    assert put["ChecksumType"] == "FULL_OBJECT"
    head = s3.head_object(Bucket=bucket, Key="c", ChecksumMode="ENABLED")
    assert head[field] == put[field]
    assert field not in s3.head_object(Bucket=bucket, Key="c", ChecksumMode="")
    got = s3.get_object(Bucket=bucket, Key="c", ChecksumMode="ENABLED")
    assert got["Body"].read() == data  # botocore compares the checksum
    assert got[field] == put[field]
    attributes = s3.get_object_attributes(
        Bucket=bucket, Key="c", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"]
    )
    assert attributes["Checksum"] == {field: put[field], "ChecksumType": "FULL_OBJECT"}
    assert attributes["ETag"] == hashlib.md5(data).hexdigest()
    assert (attributes["ObjectSize"], attributes["StorageClass"]) == (size, "STANDARD")


def test_an_object_has_one_version_called_null(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="v", Body=b"x")
    assert s3.get_object(Bucket=bucket, Key="v", VersionId="null")["Body"].read() == b"x"
    with refused("NotImplemented", 501):
        s3.get_object(Bucket=bucket, Key="v", VersionId="abc")
    with refused("NotImplemented", 501):
        s3.delete_object(Bucket=bucket, Key="v", VersionId="abc")
    assert s3.head_object(Bucket=bucket, Key="v")["ContentLength"] == 1


def test_part_number_one_of_a_plain_object_is_all_of_it(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="p", Body=b"whole")
    got = s3.get_object(Bucket=bucket, Key="p", PartNumber=1)
    assert got["Body"].read() == b"whole"
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    with refused("InvalidPartNumber", 416):
        s3.get_object(Bucket=bucket, Key="p", PartNumber=2)
