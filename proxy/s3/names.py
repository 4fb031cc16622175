"""Names of buckets, in requests and in copy sources."""

import ipaddress
import re

from proxy.core.types import CONTAINER_NAME_MAX_BYTES
from proxy.s3.errors import S3Error, invalid_argument
from proxy.s3.request import decoded_path

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")


def is_bucket_name(name: str) -> bool:
    """May S3 clients create a bucket of that name? Amazon S3 user guide, "General purpose bucket
    naming rules", without the prefixes and suffixes that Amazon keeps for itself."""
    if _BUCKET.fullmatch(name) is None:
        return False
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return True
    return False


def check_bucket_lookup(name: str) -> None:
    """Refuse what cannot be any container's name; Swift's may look otherwise than S3's.

    Raises S3Error InvalidBucketName.
    """
    if not 0 < len(name.encode("utf-8")) <= CONTAINER_NAME_MAX_BYTES:
        raise S3Error("InvalidBucketName", fields={"BucketName": name[:CONTAINER_NAME_MAX_BYTES]})


def parse_copy_source(text: str) -> tuple[str, str]:
    """Bucket and key of x-amz-copy-source: URL-encoded, `+` a space as S3 reads it, the slash before
    the bucket optional. Raises S3Error InvalidArgument, NotImplemented for a version."""
    source, _, version = text.partition("?versionId=")
    if version not in ("", "null"):
        raise S3Error("NotImplemented", "Versions are not implemented.")
    try:
        path = decoded_path(source.replace("+", "%20"))
    except S3Error as error:
        raise invalid_argument("x-amz-copy-source", text, "The copy source cannot be read.") from error
    bucket, _, key = path.removeprefix("/").partition("/")
    if not bucket or not key:
        raise invalid_argument("x-amz-copy-source", text, "The copy source names no bucket and key.")
    return bucket, key
