"""AWS Signature Version 2 for S3 (HMAC-SHA1), in the header and in the query, for old clients.

Source: Amazon S3 user guide, "Signing and authenticating REST requests (AWS signature version 2)". It
covers neither the body nor the other headers: new clients have no reason to use it.
"""

import base64
import hmac
from urllib.parse import unquote_to_bytes

from proxy.auth.canonical import wire_bytes
from proxy.auth.dates import parse_amz_date, parse_http_date
from proxy.auth.errors import (
    MalformedAuthorization,
    MalformedAuthorizationQuery,
    MissingDate,
    PresignExpired,
    RequestTimeSkewed,
    SignatureMismatch,
    UnexpectedSecurityToken,
    UnknownAccessKey,
)
from proxy.auth.payload import payload_mode_without_v4
from proxy.auth.sigv4 import SKEW_MAX_S
from proxy.auth.types import Authenticated, Headers, RequestView
from proxy.auth.users import User, UserDirectory

SCHEME = "AWS "
EXPIRES_DIGITS_MAX = 12

# The parameters that are part of the resource, with those that S3 took in after the page was written.
SUB_RESOURCES = frozenset(
    (
        "accelerate",
        "acl",
        "analytics",
        "cors",
        "defaultObjectAcl",
        "delete",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "partNumber",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "retention",
        "select",
        "select-type",
        "storageClass",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    )
)


def verify_header(
    request: RequestView, authorization: str, users: UserDirectory, host_bucket: str | None
) -> Authenticated:
    """Admit a request by `Authorization: AWS <access key>:<signature>`.

    host_bucket: the bucket that the Host header names (virtual-hosted style), which the signature
    covers as the path's first part. Raises MalformedAuthorization, UnknownAccessKey,
    UnexpectedSecurityToken, MissingDate, RequestTimeSkewed, SignatureMismatch, InvalidPayloadHash,
    UnsupportedAlgorithm.
    """
    access_key, colon, signature = authorization.removeprefix(SCHEME).strip().rpartition(":")
    if not colon or not access_key or not signature:
        raise MalformedAuthorization("the header must be 'AWS <access key>:<signature>'")
    user = _user(users, access_key, request.headers.get("x-amz-security-token"))
    date = _check_time(request)
    return _verify(request, user, signature, date, host_bucket)


def verify_query(request: RequestView, users: UserDirectory, host_bucket: str | None) -> Authenticated:
    """Admit a presigned request by its AWSAccessKeyId, Expires and Signature.

    Raises MalformedAuthorizationQuery, UnknownAccessKey, UnexpectedSecurityToken, PresignExpired,
    SignatureMismatch, InvalidPayloadHash, UnsupportedAlgorithm.
    """
    fields = {name: value or "" for name, value in _parameters(request.raw_query)}
    access_key, expires = fields.get("AWSAccessKeyId"), fields.get("Expires", "")
    signature = fields.get("Signature")
    if not access_key or not signature or not expires:
        raise MalformedAuthorizationQuery(
            "query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
        )
    if not (expires.isascii() and expires.isdigit() and len(expires) <= EXPIRES_DIGITS_MAX):
        raise MalformedAuthorizationQuery("Expires must be a time in seconds since the epoch")
    token = fields.get("x-amz-security-token") or request.headers.get("x-amz-security-token")
    user = _user(users, access_key, token)
    if request.now_s > int(expires):
        raise PresignExpired(int(expires), request.now_s)
    return _verify(request, user, signature, expires, host_bucket)


def _user(users: UserDirectory, access_key: str, token: str | None) -> User:
    user = users.by_access_key(access_key)
    if user is None:
        raise UnknownAccessKey(access_key)
    if token:
        raise UnexpectedSecurityToken
    return user


def _check_time(request: RequestView) -> str:
    """The Date line of the string to sign: empty where x-amz-date gives the time."""
    amz_date = request.headers.get("x-amz-date")
    date = request.headers.get("Date") or ""
    text = date if amz_date is None else amz_date
    time_s = parse_http_date(text)
    if time_s is None and (time_s := parse_amz_date(text)) is None:
        raise MissingDate
    if abs(request.now_s - time_s) > SKEW_MAX_S:
        raise RequestTimeSkewed(time_s, request.now_s, SKEW_MAX_S)
    return date if amz_date is None else ""


def _verify(
    request: RequestView, user: User, signature: str, date: str, host_bucket: str | None
) -> Authenticated:
    to_sign = string_to_sign(request, date, host_bucket)
    key = wire_bytes(user.secret_key)
    computed = base64.b64encode(hmac.digest(key, wire_bytes(to_sign), "sha1"))
    if not hmac.compare_digest(computed, wire_bytes(signature)):
        raise SignatureMismatch(user.access_key, signature, to_sign)
    return Authenticated(user, payload_mode_without_v4(request.headers), b"", "", "", "")


def string_to_sign(request: RequestView, date: str, host_bucket: str | None = None) -> str:
    """What SigV2 signs. date: the Date or Expires line."""
    headers = request.headers
    lines = [
        request.method,
        (headers.get("Content-MD5") or "").strip(),
        (headers.get("Content-Type") or "").strip(),
        date.strip(),
        *_amz_headers(headers),
    ]
    return "\n".join(lines) + "\n" + _resource(request, host_bucket)


def _amz_headers(headers: Headers) -> list[str]:
    names = sorted({name.lower() for name in headers if name[:6].lower() == "x-amz-"})
    return [f"{name}:{','.join(v.strip() for v in headers.getall(name, []))}" for name in names]


def _resource(request: RequestView, host_bucket: str | None) -> str:
    """The path as sent, after the bucket of the Host, with the sub-resources in their order."""
    path = request.raw_path if host_bucket is None else f"/{host_bucket}{request.raw_path}"
    if not request.raw_query:
        return path
    parameters = [p for p in _parameters(request.raw_query) if p[0] in SUB_RESOURCES]
    parameters.sort(key=lambda parameter: parameter[0])
    query = "&".join(name if value is None else f"{name}={value}" for name, value in parameters)
    return f"{path}?{query}" if query else path


def _parameters(raw_query: str) -> list[tuple[str, str | None]]:
    """Names and decoded values; None for a parameter without `=`."""
    parts = [part.partition("=") for part in raw_query.split("&") if part]
    return [(name, _unquote(value) if equals else None) for name, equals, value in parts]


def _unquote(value: str) -> str:
    return unquote_to_bytes(wire_bytes(value)).decode("utf-8", "surrogateescape")
