"""Headers that ask for what is not there: answered 501, never ignored.

A header that Amazon S3 knows is in exactly one of three places: handled by a verb, refused here, or
in `HARMLESS` with the reason why ignoring it keeps its promise. A test holds this against botocore's
model.
"""

from collections.abc import Mapping
from typing import Final

from proxy.s3.errors import S3Error, invalid_argument, not_implemented

REFUSED_PREFIXES: Final = (
    "x-amz-server-side-encryption",
    "x-amz-copy-source-server-side-encryption",
    "x-amz-object-lock-",
    "x-amz-grant-",
    "x-amz-rename-source",
    "x-amz-fwd-",
)
REFUSED: Final = frozenset(
    (
        "x-amz-bucket-namespace",
        "x-amz-client-token",
        "x-amz-create-session-mode",
        "x-amz-if-match-initiated-time",
        "x-amz-if-match-last-modified-time",
        "x-amz-if-match-size",
        "x-amz-mfa",
        "x-amz-object-if-match",
        "x-amz-tagging",
        "x-amz-website-redirect-location",
        "x-amz-write-offset-bytes",
    )
)
HARMLESS: Final = frozenset(
    (
        "x-amz-bypass-governance-retention",  # nothing is locked here, so nothing is bypassed
        "x-amz-optional-object-attributes",  # restore status: no object is archived here
        "x-amz-request-payer",  # nobody pays for requests here
    )
)

STORAGE_CLASSES: Final = frozenset(
    (
        "DEEP_ARCHIVE",
        "EXPRESS_ONEZONE",
        "FSX_ONTAP",
        "FSX_OPENZFS",
        "GLACIER",
        "GLACIER_IR",
        "INTELLIGENT_TIERING",
        "ONEZONE_IA",
        "OUTPOSTS",
        "REDUCED_REDUNDANCY",
        "SNOW",
        "STANDARD_IA",
    )
)
"""Amazon's other storage classes: known, and not here."""

_TRUE_ACLS = frozenset(("private", "bucket-owner-full-control", "bucket-owner-read"))
_OTHER_ACLS = frozenset(
    ("public-read", "public-read-write", "authenticated-read", "aws-exec-read", "log-delivery-write")
)


def refuse_absent(amz: Mapping[str, str]) -> None:
    """Raises S3Error for headers that ask for absent features.

    amz: the request's x-amz-* headers by lower-case name.
    """
    for name, value in amz.items():
        if name in REFUSED or name.startswith(REFUSED_PREFIXES):
            raise not_implemented(f"The header {name}")
        if (check := _BY_VALUE.get(name)) is not None:
            check(value)


def _refuse_acl(value: str) -> None:
    if value in _OTHER_ACLS:
        raise not_implemented(f"The canned ACL {value}")
    if value not in _TRUE_ACLS:
        raise invalid_argument("x-amz-acl", value, "There is no such canned ACL.")


def _refuse_storage_class(value: str) -> None:
    if value in STORAGE_CLASSES:
        raise not_implemented(f"The storage class {value}")
    if value != "STANDARD":
        raise S3Error("InvalidStorageClass", fields={"StorageClassRequested": value[:64]})


def _refuse_ownership(value: str) -> None:
    if value != "BucketOwnerEnforced":
        raise not_implemented(f"The object ownership {value[:64]}")


def _refuse_object_lock(value: str) -> None:
    if value.lower() != "false":
        raise not_implemented("Object lock")


def _refuse_directive(value: str) -> None:
    """Objects have no tags and no annotations: copying them is done, replacing them cannot be."""
    if value != "COPY":
        raise not_implemented(f"The directive {value[:64]}")


_BY_VALUE = {
    "x-amz-acl": _refuse_acl,
    "x-amz-bucket-object-lock-enabled": _refuse_object_lock,
    "x-amz-object-annotation-directive": _refuse_directive,
    "x-amz-object-ownership": _refuse_ownership,
    "x-amz-storage-class": _refuse_storage_class,
    "x-amz-tagging-directive": _refuse_directive,
}


def refuse_version(version: str | None) -> None:
    """versionId: every object has the one version "null". Raises S3Error NotImplemented for others."""
    if version not in (None, "", "null"):
        raise not_implemented("A versionId other than null")
