"""How each error is told to S3 clients: one table of codes, one exhaustive table of exceptions.

Codes, statuses and meanings are those of the S3 API reference ("Error responses"); the sentences are
ours. A class of `proxy/core/errors.py` or `proxy/auth/errors.py` that is missing in `TABLE` fails a
test; what is no error of ours is `InternalError`, without text.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from proxy.auth import errors as auth
from proxy.core import errors as core
from proxy.s3.times import xml_date

RETRY_AFTER_S: Final = 1
"""What a 503 asks the client to wait."""

CODES: Final[dict[str, tuple[int, str]]] = {
    # -- not allowed
    "AccessDenied": (403, "Access Denied"),
    "InvalidAccessKeyId": (403, "The access key is not known here."),
    "SignatureDoesNotMatch": (403, "The signature does not match the request; check key and method."),
    "RequestTimeTooSkewed": (403, "The request's time is too far from the server's."),
    "InvalidToken": (400, "The session token is not valid."),
    "AuthorizationHeaderMalformed": (400, "The Authorization header cannot be read."),
    "AuthorizationQueryParametersError": (400, "The query's authentication parameters are wrong."),
    "MissingSecurityHeader": (400, "The request lacks a header that authentication needs."),
    # -- not there
    "NoSuchBucket": (404, "The bucket does not exist."),
    "NoSuchKey": (404, "The key does not exist."),
    "NoSuchUpload": (404, "The upload does not exist: it was never begun, or completed or aborted."),
    "NoSuchBucketPolicy": (404, "The bucket has no policy."),
    "NoSuchTagSet": (404, "The bucket has no tags."),
    "NoSuchLifecycleConfiguration": (404, "The bucket has no lifecycle configuration."),
    "NoSuchCORSConfiguration": (404, "The bucket has no CORS configuration."),
    "NoSuchWebsiteConfiguration": (404, "The bucket has no website configuration."),
    "NoSuchPublicAccessBlockConfiguration": (404, "The bucket has no public access block."),
    "ObjectLockConfigurationNotFoundError": (404, "Object lock is not configured for the bucket."),
    "OwnershipControlsNotFoundError": (404, "The bucket has no ownership controls."),
    "ReplicationConfigurationNotFoundError": (404, "The bucket has no replication configuration."),
    "ServerSideEncryptionConfigurationNotFoundError": (404, "The bucket has no encryption settings."),
    # -- conflicts and conditions
    "BucketAlreadyExists": (409, "The bucket name belongs to another account."),
    "BucketAlreadyOwnedByYou": (409, "The bucket exists and is yours."),
    "BucketNotEmpty": (409, "The bucket is not empty."),
    "ConditionalRequestConflict": (409, "Another change got in the way; try again."),
    "OperationAborted": (409, "A segment that the object's manifest names is missing or has changed."),
    "PreconditionFailed": (412, "A condition of the request does not hold."),
    "InvalidRange": (416, "The range lies beyond the object's end."),
    "InvalidPartNumber": (416, "The object has no part of that number."),
    # -- bad input
    "BadDigest": (400, "The body does not match the digest that was sent with it."),
    "BadRequest": (400, "The request cannot be read."),
    "EntityTooLarge": (400, "The body is larger than allowed."),
    "EntityTooSmall": (400, "A part other than the last is smaller than allowed."),
    "IncompleteBody": (400, "The body has another length than was announced."),
    "IllegalLocationConstraintException": (400, "The location constraint is not valid here."),
    "InvalidArgument": (400, "An argument is not valid."),
    "InvalidBucketName": (400, "The bucket name is not valid."),
    "InvalidDigest": (400, "The Content-MD5 is not base64 of 16 bytes."),
    "InvalidLocationConstraint": (400, "There is no storage policy of that name."),
    "InvalidPart": (400, "A part was not uploaded, or has another ETag or checksum."),
    "InvalidPartOrder": (400, "The parts are not in ascending order."),
    "InvalidRequest": (400, "The request is not valid."),
    "InvalidStorageClass": (400, "The storage class is not valid."),
    "InvalidURI": (400, "The URI cannot be read."),
    "KeyTooLongError": (400, "The key is too long."),
    "MalformedTrailerError": (400, "The trailers of the body are missing or broken."),
    "MalformedXML": (400, "The XML cannot be read, or is not the document that was expected."),
    "MaxMessageLengthExceeded": (400, "The document in the body is too large."),
    "MetadataTooLarge": (400, "The user metadata exceed their limit."),
    "MissingRequestBodyError": (400, "The request needs a body."),
    "RequestTimeout": (400, "The body did not arrive in time."),
    "XAmzContentSHA256Mismatch": (400, "The body does not match x-amz-content-sha256."),
    "MethodNotAllowed": (405, "The method is not allowed on this resource."),
    "MissingContentLength": (411, "The request needs a Content-Length."),
    # -- the store cannot
    "InternalError": (500, "An internal error occurred; try again."),
    "NotImplemented": (501, "The request asks for something that is not implemented."),
    "ServiceUnavailable": (503, "The store cannot answer for now; try again."),
    "SlowDown": (503, "Too many requests; slow down."),
    "InsufficientStorage": (507, "The devices have no room for the write; nothing was stored."),
}
"""Status and sentence by code."""


class S3Error(Exception):
    """An error in S3's words. message: "" for the code's own; fields: more elements of the document."""

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        fields: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.message = message or CODES[code][1]
        self.fields = fields or {}
        self.headers = headers or {}

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code][0]


def not_implemented(what: str) -> S3Error:
    """501 for a header, parameter or call that would need what is not there."""
    return S3Error("NotImplemented", f"{what} is not implemented.")


def invalid_argument(name: str, value: str, message: str) -> S3Error:
    """InvalidArgument with the argument's name and value."""
    return S3Error(
        "InvalidArgument", message, fields={"ArgumentName": name, "ArgumentValue": value[:256]}
    )


class Place(NamedTuple):
    """What the request was about, for the fields of "not there" errors."""

    bucket: str = ""
    key: str = ""
    upload_id: str = ""


_Teller = Callable[[Any, Place], S3Error]


def _code(code: str) -> _Teller:
    """The code alone, with its own sentence."""
    return lambda _error, _place: S3Error(code)


def _speaking(code: str) -> _Teller:
    """The code, with what the exception says of itself."""
    return lambda error, _place: S3Error(code, _sentence(str(error)))


def _sentence(text: str) -> str:
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _no_such_bucket(_error: core.NoSuchContainer, place: Place) -> S3Error:
    return S3Error("NoSuchBucket", fields={"BucketName": place.bucket})


def _no_such_key(_error: core.NoSuchObject, place: Place) -> S3Error:
    return S3Error("NoSuchKey", fields={"Key": place.key})


def _no_such_upload(_error: core.NoSuchUpload, place: Place) -> S3Error:
    return S3Error("NoSuchUpload", fields={"UploadId": place.upload_id})


def _precondition(error: core.PreconditionFailed, _place: Place) -> S3Error:
    return S3Error("PreconditionFailed", fields={"Condition": error.condition})


def _range(error: core.RangeNotSatisfiable, _place: Place) -> S3Error:
    return S3Error(
        "InvalidRange",
        fields={"ActualObjectSize": error.size_bytes},
        headers={"Content-Range": f"bytes */{error.size_bytes}"},
    )


def _name_too_long(error: core.NameTooLong, _place: Place) -> S3Error:
    fields = {"Size": error.size_bytes, "MaxSizeAllowed": error.max_bytes}
    return S3Error("KeyTooLongError", fields=fields)


def _too_large(error: core.ObjectTooLarge, _place: Place) -> S3Error:
    fields = {"ProposedSize": error.size_bytes, "MaxSizeAllowed": error.max_bytes}
    return S3Error("EntityTooLarge", fields=fields)


def _too_small(error: core.PartTooSmall, _place: Place) -> S3Error:
    fields = {
        "ProposedSize": error.size_bytes,
        "MinSizeAllowed": error.min_bytes,
        "PartNumber": error.number,
    }
    return S3Error("EntityTooSmall", fields=fields)


def _metadata(error: core.MetadataTooLarge, _place: Place) -> S3Error:
    return S3Error("MetadataTooLarge", _sentence(error.detail))


def _bad_digest(error: core.BadDigest, _place: Place) -> S3Error:
    return S3Error("BadDigest", f"The body does not match the {error.digest} that was sent with it.")


def _retry(code: str) -> _Teller:
    return lambda _error, _place: S3Error(code, headers={"Retry-After": str(RETRY_AFTER_S)})


def _unknown_key(error: auth.UnknownAccessKey, _place: Place) -> S3Error:
    return S3Error("InvalidAccessKeyId", fields={"AWSAccessKeyId": error.access_key[:256]})


def _signature(error: auth.SignatureMismatch, _place: Place) -> S3Error:
    fields = {
        "AWSAccessKeyId": error.access_key,
        "StringToSign": error.string_to_sign,
        "SignatureProvided": error.signature_provided[:256],
    }
    if error.canonical_request:
        fields["CanonicalRequest"] = error.canonical_request
    return S3Error("SignatureDoesNotMatch", fields=fields)


def _skewed(error: auth.RequestTimeSkewed, _place: Place) -> S3Error:
    fields: dict[str, str | int] = {
        "RequestTime": _date(error.request_time_s),
        "ServerTime": _date(error.server_time_s),
        "MaxAllowedSkewMilliseconds": int(error.max_skew_s * 1000),
    }
    return S3Error("RequestTimeTooSkewed", fields=fields)


def _date(time_s: float) -> str:
    try:
        return xml_date(int(time_s))
    except (OverflowError, ValueError, OSError):
        return ""


def _expired(error: auth.PresignExpired, _place: Place) -> S3Error:
    fields = {"Expires": _date(error.expired_at_s), "ServerTime": _date(error.server_time_s)}
    return S3Error("AccessDenied", "The request has expired.", fields=fields)


def _wrong_region(code: str) -> _Teller:
    return lambda error, _place: S3Error(code, _sentence(str(error)), fields={"Region": error.expected})


def _missing_security(error: auth.MissingSecurityHeader, _place: Place) -> S3Error:
    code = "InvalidRequest" if error.header == "x-amz-content-sha256" else "MissingSecurityHeader"
    return S3Error(code, _sentence(str(error)), fields={"MissingHeaderName": error.header})


def _payload_hash(error: auth.PayloadHashMismatch, _place: Place) -> S3Error:
    fields = {
        "ClientComputedContentSHA256": error.declared,
        "S3ComputedContentSHA256": error.computed,
    }
    return S3Error("XAmzContentSHA256Mismatch", fields=fields)


def _checksum(error: auth.ChecksumMismatch, _place: Place) -> S3Error:
    fields = {"ExpectedDigest": error.declared, "CalculatedDigest": error.computed}
    return S3Error("BadDigest", _sentence(str(error)), fields=fields)


def _short_body(error: auth.IncompleteBody, _place: Place) -> S3Error:
    fields = {
        "NumberBytesExpected": error.declared_bytes,
        "NumberBytesReceived": error.received_bytes,
    }
    return S3Error("IncompleteBody", fields=fields)


def _invalid_sha256(error: auth.InvalidPayloadHash, _place: Place) -> S3Error:
    return invalid_argument("x-amz-content-sha256", error.value, _sentence(str(error)))


_INTERNAL = _code("InternalError")

TABLE: Final[dict[type[Exception], _Teller]] = {
    # -- proxy/core/errors.py
    core.StoreError: _INTERNAL,
    core.NoSuchContainer: _no_such_bucket,
    core.NoSuchObject: _no_such_key,
    core.NoSuchUpload: _no_such_upload,
    core.ContainerExists: _code("BucketAlreadyOwnedByYou"),
    core.BucketNameTaken: _code("BucketAlreadyExists"),
    core.ContainerNotEmpty: _code("BucketNotEmpty"),
    core.PolicyConflict: _code("BucketAlreadyOwnedByYou"),
    core.Conflict: _code("ConditionalRequestConflict"),
    core.PreconditionFailed: _precondition,
    core.RangeNotSatisfiable: _range,
    core.InvalidName: _speaking("InvalidURI"),
    core.NameTooLong: _name_too_long,
    core.MetadataTooLarge: _metadata,
    core.UnknownPolicy: _code("InvalidLocationConstraint"),
    core.ObjectTooLarge: _too_large,
    core.IncompleteBody: _code("IncompleteBody"),
    core.SlowBody: _code("RequestTimeout"),
    core.BadDigest: _bad_digest,
    core.InvalidPart: _speaking("InvalidPart"),
    core.InvalidPartOrder: _code("InvalidPartOrder"),
    core.PartTooSmall: _too_small,
    core.BadReference: _code("OperationAborted"),
    core.Unavailable: _retry("ServiceUnavailable"),
    core.Full: _code("InsufficientStorage"),
    core.Overloaded: _retry("SlowDown"),
    core.Damaged: lambda _error, _place: S3Error(
        "InternalError", "Too few good copies of the object's data are left to answer."
    ),
    core.NotSupported: _speaking("NotImplemented"),
    # -- proxy/auth/errors.py
    auth.AuthError: _code("AccessDenied"),
    auth.NotAuthorized: _code("AccessDenied"),
    auth.UnknownAccessKey: _unknown_key,
    auth.UnexpectedSecurityToken: _speaking("InvalidToken"),
    auth.SignatureMismatch: _signature,
    auth.RequestTimeSkewed: _skewed,
    auth.PresignExpired: _expired,
    auth.PresignNotYetValid: lambda _error, _place: S3Error(
        "AccessDenied", "The request is not yet valid."
    ),
    auth.MalformedAuthorization: _speaking("AuthorizationHeaderMalformed"),
    auth.MalformedAuthorizationQuery: _speaking("AuthorizationQueryParametersError"),
    auth.WrongRegion: _wrong_region("AuthorizationHeaderMalformed"),
    auth.WrongQueryRegion: _wrong_region("AuthorizationQueryParametersError"),
    auth.MissingDate: _speaking("AccessDenied"),
    auth.MissingSecurityHeader: _missing_security,
    auth.UnsignedHeaders: _speaking("AccessDenied"),
    auth.AmbiguousAuthorization: _speaking("InvalidArgument"),
    auth.UnsupportedAlgorithm: _speaking("NotImplemented"),
    auth.UnsupportedAuthorizationType: _speaking("InvalidArgument"),
    auth.BadCredentials: _code("AccessDenied"),
    auth.InvalidToken: _code("AccessDenied"),
    auth.TokenExpired: _code("AccessDenied"),
    auth.KeystoneAway: _retry("ServiceUnavailable"),
    auth.BodyError: _speaking("InvalidRequest"),
    auth.InvalidPayloadHash: _invalid_sha256,
    auth.PayloadHashMismatch: _payload_hash,
    auth.ChunkSignatureMismatch: _speaking("SignatureDoesNotMatch"),
    auth.MissingDecodedLength: _speaking("MissingContentLength"),
    auth.InvalidDecodedLength: _speaking("InvalidArgument"),
    auth.MalformedChunk: _speaking("InvalidRequest"),
    auth.LineTooLong: _speaking("InvalidRequest"),
    auth.ChunkTooLarge: _speaking("InvalidRequest"),
    auth.MalformedTrailer: _speaking("MalformedTrailerError"),
    auth.IncompleteBody: _short_body,
    auth.ChecksumError: _speaking("InvalidRequest"),
    auth.InvalidDigest: _code("InvalidDigest"),
    auth.InvalidChecksum: _speaking("InvalidRequest"),
    auth.ConflictingChecksums: _speaking("InvalidRequest"),
    auth.UnknownChecksum: _speaking("InvalidRequest"),
    auth.ChecksumMismatch: _checksum,
    # The rest of proxy/auth belongs to Swift's headers and to the user file; S3 requests never meet it.
    auth.InvalidAcl: _INTERNAL,
    auth.UserError: _INTERNAL,
    auth.InvalidUser: _INTERNAL,
    auth.DuplicateUser: _INTERNAL,
    auth.NoSuchUser: _INTERNAL,
    auth.UserFileInvalid: _INTERNAL,
}
"""Every domain error, and how it is told."""


def told(error: Exception, place: Place) -> S3Error | None:
    """The error in S3's words; None for what is no error of ours (a programmer's, a library's)."""
    if isinstance(error, S3Error):
        return error
    teller = TABLE.get(type(error))
    return None if teller is None else teller(error, place)
