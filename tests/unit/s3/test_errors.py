"""The table of errors: complete, and speaking S3."""

from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from proxy.auth import errors as auth
from proxy.core import errors as core
from proxy.s3.errors import CODES, TABLE, Place, S3Error, told
from proxy.s3.reply import error_document

PLACE = Place("bucket", "some/key", "upload")


def subclasses(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        yield from subclasses(child)


ALL = {*subclasses(core.StoreError), *subclasses(auth.AuthError)}

TOLD: list[tuple[Exception, int, str]] = [
    (core.NoSuchContainer(), 404, "NoSuchBucket"),
    (core.NoSuchObject(), 404, "NoSuchKey"),
    (core.NoSuchUpload(), 404, "NoSuchUpload"),
    (core.ContainerExists(), 409, "BucketAlreadyOwnedByYou"),
    (core.BucketNameTaken(), 409, "BucketAlreadyExists"),
    (core.ContainerNotEmpty(), 409, "BucketNotEmpty"),
    (core.PolicyConflict(), 409, "BucketAlreadyOwnedByYou"),
    (core.Conflict(), 409, "ConditionalRequestConflict"),
    (core.PreconditionFailed("If-Match"), 412, "PreconditionFailed"),
    (core.RangeNotSatisfiable(7), 416, "InvalidRange"),
    (core.InvalidName("a NUL"), 400, "InvalidURI"),
    (core.NameTooLong(1025, 1024), 400, "KeyTooLongError"),
    (core.MetadataTooLarge(), 400, "MetadataTooLarge"),
    (core.UnknownPolicy(), 400, "InvalidLocationConstraint"),
    (core.ObjectTooLarge(9, 8), 400, "EntityTooLarge"),
    (core.IncompleteBody(), 400, "IncompleteBody"),
    (core.SlowBody(), 400, "RequestTimeout"),
    (core.BadDigest("md5"), 400, "BadDigest"),
    (core.InvalidPart("part 3"), 400, "InvalidPart"),
    (core.InvalidPartOrder(), 400, "InvalidPartOrder"),
    (core.PartTooSmall(1, 2, 3), 400, "EntityTooSmall"),
    (core.BadReference(), 409, "OperationAborted"),
    (core.Unavailable(), 503, "ServiceUnavailable"),
    (auth.KeystoneAway(), 503, "ServiceUnavailable"),
    (core.Overloaded(), 503, "SlowDown"),
    (core.Full(), 507, "InsufficientStorage"),
    (core.Damaged(), 500, "InternalError"),
    (core.NotSupported("that"), 501, "NotImplemented"),
    (auth.NotAuthorized(), 403, "AccessDenied"),
    (auth.UnknownAccessKey("AKI"), 403, "InvalidAccessKeyId"),
    (auth.UnexpectedSecurityToken(), 400, "InvalidToken"),
    (auth.SignatureMismatch("AKI", "ab", "to sign", "GET\n/"), 403, "SignatureDoesNotMatch"),
    (auth.RequestTimeSkewed(1.0, 5000.0, 900.0), 403, "RequestTimeTooSkewed"),
    (auth.PresignExpired(1.0, 2.0), 403, "AccessDenied"),
    (auth.PresignNotYetValid(2.0, 1.0), 403, "AccessDenied"),
    (auth.MalformedAuthorization("no field"), 400, "AuthorizationHeaderMalformed"),
    (auth.MalformedAuthorizationQuery("no field"), 400, "AuthorizationQueryParametersError"),
    (auth.WrongRegion("a", "b"), 400, "AuthorizationHeaderMalformed"),
    (auth.WrongQueryRegion("a", "b"), 400, "AuthorizationQueryParametersError"),
    (auth.MissingDate(), 403, "AccessDenied"),
    (auth.MissingSecurityHeader("x-amz-content-sha256"), 400, "InvalidRequest"),
    (auth.MissingSecurityHeader("host"), 400, "MissingSecurityHeader"),
    (auth.UnsignedHeaders(("x-amz-acl",)), 403, "AccessDenied"),
    (auth.AmbiguousAuthorization(), 400, "InvalidArgument"),
    (auth.UnsupportedAlgorithm("AWS4-ECDSA-P256-SHA256"), 501, "NotImplemented"),
    (auth.UnsupportedAuthorizationType(), 400, "InvalidArgument"),
    (auth.InvalidPayloadHash("x"), 400, "InvalidArgument"),
    (auth.PayloadHashMismatch("a", "b"), 400, "XAmzContentSHA256Mismatch"),
    (auth.ChunkSignatureMismatch("chunk", 5), 403, "SignatureDoesNotMatch"),
    (auth.MissingDecodedLength(), 411, "MissingContentLength"),
    (auth.InvalidDecodedLength(), 400, "InvalidArgument"),
    (auth.MalformedChunk("x"), 400, "InvalidRequest"),
    (auth.LineTooLong(5), 400, "InvalidRequest"),
    (auth.ChunkTooLarge(6, 5), 400, "InvalidRequest"),
    (auth.MalformedTrailer("x"), 400, "MalformedTrailerError"),
    (auth.IncompleteBody(5, 4), 400, "IncompleteBody"),
    (auth.InvalidDigest(), 400, "InvalidDigest"),
    (auth.InvalidChecksum("x-amz-checksum-crc32"), 400, "InvalidRequest"),
    (auth.ConflictingChecksums("two"), 400, "InvalidRequest"),
    (auth.UnknownChecksum("crc5"), 400, "InvalidRequest"),
    (auth.ChecksumMismatch("CRC32", "a", "b"), 400, "BadDigest"),
]

IDS = [f"{type(error).__name__}-{number}" for number, (error, _, _) in enumerate(TOLD)]

NEVER_MET = {
    core.StoreError,
    auth.AuthError,
    auth.BodyError,
    auth.ChecksumError,
    auth.BadCredentials,
    auth.InvalidToken,
    auth.TokenExpired,
    auth.InvalidAcl,
    auth.UserError,
    auth.InvalidUser,
    auth.DuplicateUser,
    auth.NoSuchUser,
    auth.UserFileInvalid,
}


def test_every_domain_error_is_in_the_table() -> None:
    assert set(TABLE) == ALL


def test_every_domain_error_is_told_in_this_test() -> None:
    assert {type(error) for error, _, _ in TOLD} | NEVER_MET == ALL


@pytest.mark.parametrize(("error", "status", "code"), TOLD, ids=IDS)
def test_an_error_has_its_status_and_code(error: Exception, status: int, code: str) -> None:
    known = told(error, PLACE)
    assert known is not None
    assert (known.status, known.code) == (status, code)
    assert known.message.endswith((".", "Access Denied"))


@pytest.mark.parametrize(("error", "status", "code"), TOLD, ids=IDS)
def test_an_error_document_is_well_formed(error: Exception, status: int, code: str) -> None:
    known = told(error, PLACE)
    assert known is not None
    root = ElementTree.fromstring(error_document(known, "/bucket/<&>\x01", "00FF"))  # noqa: S314
    assert root.tag == "Error"
    assert root.findtext("Code") == code
    assert root.findtext("RequestId") == "00FF"


def test_only_503_asks_to_retry() -> None:
    for error, status, _ in TOLD:
        known = told(error, PLACE)
        assert known is not None
        assert ("Retry-After" in known.headers) == (status == 503)


def test_what_is_missing_is_named() -> None:
    key, bucket = told(core.NoSuchObject(), PLACE), told(core.NoSuchContainer(), PLACE)
    assert key is not None
    assert bucket is not None
    assert (key.fields, bucket.fields) == ({"Key": "some/key"}, {"BucketName": "bucket"})


def test_foreign_errors_are_not_told() -> None:
    assert told(ValueError("secret"), PLACE) is None
    assert told(KeyError(), PLACE) is None


def test_every_code_is_an_error_status() -> None:
    for code, (status, message) in CODES.items():
        assert 400 <= status < 600, code
        assert message


def test_an_unknown_code_is_a_programmer_error() -> None:
    with pytest.raises(KeyError):
        S3Error("NoSuchThing")
