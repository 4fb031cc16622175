"""AWS Signature Version 4 for S3: requests signed in the header or in the query (presigned).

Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)". The chunks of a
streaming body are `chunked.py`'s. Called by `admission.py`, once per request: this is the hot path.
"""

import hashlib
import hmac
from typing import NamedTuple, TypeVar

from proxy.auth import canonical
from proxy.auth.dates import format_amz_date, parse_amz_date, parse_http_date
from proxy.auth.errors import (
    MalformedAuthorization,
    MalformedAuthorizationQuery,
    MissingDate,
    MissingSecurityHeader,
    PresignExpired,
    PresignNotYetValid,
    RequestTimeSkewed,
    SignatureMismatch,
    UnexpectedSecurityToken,
    UnknownAccessKey,
    UnsignedHeaders,
    UnsupportedAlgorithm,
    WrongQueryRegion,
    WrongRegion,
)
from proxy.auth.payload import payload_mode
from proxy.auth.types import UNSIGNED_PAYLOAD, Authenticated, Headers, RequestView
from proxy.auth.users import User, UserDirectory

_K = TypeVar("_K")
_V = TypeVar("_V")

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_MAX_S = 15 * 60
EXPIRES_MAX_S = 7 * 24 * 3600
SIGNING_KEYS_MAX = 4096
CLAIMS_MAX = 4096

# The string to sign holds both, whether or not they are among the signed headers.
_BOUND_ANYWAY = frozenset(("x-amz-date", "x-amz-content-sha256"))
_QUERY_FIELDS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)


class Claim(NamedTuple):
    """Who claims to have signed, for which scope, over which headers."""

    access_key: str
    date: str
    region: str
    scope: str
    signed_text: str
    signed_names: tuple[str, ...]
    signed_set: frozenset[str]


class _Proof(NamedTuple):
    """What a request offers for its claim; `payload` as the signer spelled it."""

    claim: Claim
    amz_date: str
    payload: str
    signature: str
    presigned: bool


def parse_authorization(text: str) -> tuple[Claim, str]:
    """The claim and the signature of an Authorization header, its fields in any order.

    Raises MalformedAuthorization.
    """
    fields: dict[str, str] = {}
    for part in text.removeprefix(ALGORITHM).split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name in fields:
            raise MalformedAuthorization("the header is not a list of distinct name=value fields")
        fields[name] = value
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not fields.get(name):
            raise MalformedAuthorization(f"the field {name} is missing")
    claim = _claim(fields["Credential"], fields["SignedHeaders"], MalformedAuthorization)
    return claim, fields["Signature"]


def _claim(
    credential: str,
    signed_text: str,
    malformed: type[MalformedAuthorization] | type[MalformedAuthorizationQuery],
) -> Claim:
    """From `<access key>/<date>/<region>/s3/aws4_request` and `host;x-amz-date`."""
    parts = credential.rsplit("/", 4)
    if len(parts) != 5:
        raise malformed("the credential must be <access-key>/<date>/<region>/s3/aws4_request")
    access_key, date, region, service, end = parts
    if end != "aws4_request":
        raise malformed("the credential's scope must end in 'aws4_request'")
    if service != "s3":
        raise malformed(f"incorrect service '{service[:64]}'; this endpoint belongs to 's3'")
    if not access_key or not region or len(date) != 8:
        raise malformed("the credential has an empty access key or region, or a wrong date")
    names = tuple(signed_text.lower().split(";"))
    if "" in names or "host" not in names:
        raise malformed("SignedHeaders must be a list of header names with 'host' among them")
    scope = f"{date}/{region}/s3/aws4_request"
    return Claim(access_key, date, region, scope, signed_text, names, frozenset(names))


def request_time(headers: Headers) -> tuple[str, float]:
    """`x-amz-date` (or Date, in either spelling) as text for the string to sign, and in seconds.

    Raises MissingDate.
    """
    text = headers.get("x-amz-date")
    if text is not None:
        if (time_s := parse_amz_date(text)) is not None:
            return text, time_s
        time_s = parse_http_date(text)
    else:
        text = headers.get("Date") or ""
        if (time_s := parse_amz_date(text)) is not None:
            return text, time_s
        time_s = parse_http_date(text)
    if time_s is None:
        raise MissingDate
    return format_amz_date(time_s), time_s


def derive_signing_key(secret_key: str, date: str, region: str) -> bytes:
    """The key of a day and region: four chained HMACs of the secret."""
    key = canonical.wire_bytes("AWS4" + secret_key)
    for step in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, canonical.wire_bytes(step), "sha256")
    return key


class SigV4:
    """The verifier of one process, with its caches of signing keys and of parsed headers.

    region: the only one accepted in credential scopes; None accepts any. The caches take in only
    what a right signature stood behind, so that strangers cannot fill them.
    """

    def __init__(self, users: UserDirectory, region: str | None = None) -> None:
        self._users = users
        self._region = region
        self._keys: dict[tuple[str, str, str], bytes] = {}
        self._claims: dict[str, Claim] = {}
        self._last_time = ("19700101T000000Z", 0.0)  # requests come in bursts dated alike

    def verify_header(self, request: RequestView, authorization: str) -> Authenticated:
        """Admit a request by its Authorization header.

        Raises MalformedAuthorization, WrongRegion, UnknownAccessKey, UnexpectedSecurityToken,
        MissingDate, RequestTimeSkewed, MissingSecurityHeader, InvalidPayloadHash,
        UnsupportedAlgorithm, UnsignedHeaders, SignatureMismatch.
        """
        # All before the signature is the same in each request of a client: parsed once. A head may
        # stand for its claim only if nothing but the signature followed it.
        head, _, signature = authorization.rpartition("Signature=")
        claim = self._claims.get(head)
        if claim is None:
            rest = signature
            claim, signature = parse_authorization(authorization)
            head = head if rest == signature else ""
        if self._region is not None and claim.region != self._region:
            raise WrongRegion(claim.region, self._region)
        headers = request.headers
        user = self._user(claim.access_key, headers.get("x-amz-security-token"))
        amz_date, time_s = self._request_time(headers)
        if abs(request.now_s - time_s) > SKEW_MAX_S:
            raise RequestTimeSkewed(time_s, request.now_s, SKEW_MAX_S)
        if not amz_date.startswith(claim.date):
            raise MalformedAuthorization("the credential's date is not that of the request")
        payload = headers.get("x-amz-content-sha256")
        if payload is None:
            raise MissingSecurityHeader("x-amz-content-sha256")
        mode = payload_mode(payload)
        _check_all_signed(headers, claim.signed_set)
        pairs = canonical.canonical_pairs(request.raw_query) if request.raw_query else []
        proof = _Proof(claim, amz_date, payload, signature, presigned=False)
        key = self._check(request, proof, user, pairs)
        if head and head not in self._claims:
            _remember(self._claims, head, claim, CLAIMS_MAX)
        return Authenticated(user, mode, key, signature, amz_date, claim.scope)

    def verify_query(self, request: RequestView) -> Authenticated:
        """Admit a presigned request by its X-Amz-* parameters.

        Raises MalformedAuthorizationQuery, WrongQueryRegion, UnsupportedAlgorithm, UnknownAccessKey,
        UnexpectedSecurityToken, PresignExpired, PresignNotYetValid, InvalidPayloadHash,
        UnsignedHeaders, SignatureMismatch.
        """
        pairs = canonical.canonical_pairs(request.raw_query)
        fields = _query_fields(pairs)
        claim = _claim(
            fields["X-Amz-Credential"], fields["X-Amz-SignedHeaders"], MalformedAuthorizationQuery
        )
        if self._region is not None and claim.region != self._region:
            raise WrongQueryRegion(claim.region, self._region)
        headers = request.headers
        token = fields.get("X-Amz-Security-Token", headers.get("x-amz-security-token"))
        user = self._user(claim.access_key, token)
        amz_date = fields["X-Amz-Date"]
        _check_presign_time(amz_date, claim.date, fields["X-Amz-Expires"], request.now_s)
        payload = fields.get("X-Amz-Content-Sha256") or headers.get("x-amz-content-sha256")
        payload = payload or UNSIGNED_PAYLOAD
        mode = payload_mode(payload)
        _check_all_signed(headers, claim.signed_set)
        signature = fields["X-Amz-Signature"]
        signed = [pair for pair in pairs if pair[0] != "X-Amz-Signature"]
        proof = _Proof(claim, amz_date, payload, signature, presigned=True)
        key = self._check(request, proof, user, signed)
        return Authenticated(user, mode, key, signature, amz_date, claim.scope)

    def _request_time(self, headers: Headers) -> tuple[str, float]:
        if headers.get("x-amz-date") != self._last_time[0]:
            self._last_time = request_time(headers)
        return self._last_time

    def _user(self, access_key: str, token: str | None) -> User:
        user = self._users.by_access_key(access_key)
        if user is None:
            raise UnknownAccessKey(access_key)
        if token:
            raise UnexpectedSecurityToken
        return user

    def _check(
        self, request: RequestView, proof: _Proof, user: User, pairs: list[tuple[str, str]]
    ) -> bytes:
        """The signing key, if the signature is right. Raises SignatureMismatch."""
        claim = proof.claim
        cache_key = (user.secret_key, claim.date, claim.region)
        key = self._keys.get(cache_key)
        fresh = key is None
        if key is None:
            key = derive_signing_key(*cache_key)
        path = canonical.canonical_path(request.raw_path)
        query = canonical.join_pairs(pairs) if pairs else ""
        headers = canonical.header_lines(request.headers, claim.signed_names)
        tail = f"{headers}\n\n{claim.signed_text}\n{proof.payload}"
        text = f"{request.method}\n{path}\n{query}\n{tail}"
        to_sign = _string_to_sign(text, proof)
        if not _is_signature(key, to_sign, proof.signature) and not (
            _is_signed_as_sent(request, proof, key, (path, query), tail)
        ):
            raise SignatureMismatch(claim.access_key, proof.signature, to_sign, text)
        if fresh:
            _remember(self._keys, cache_key, key, SIGNING_KEYS_MAX)
        return key


def _is_signed_as_sent(
    request: RequestView, proof: _Proof, key: bytes, tried: tuple[str, str], tail: str
) -> bool:
    """Accept clients that sign path and query in the spelling that they send.

    Their signature proves as much: it covers the very bytes of the request line. Only a request
    whose spelling is not canonical (`tried` is its canonical path and query) gets this second look.
    """
    pairs = canonical.raw_pairs(request.raw_query)
    if proof.presigned:
        pairs = [pair for pair in pairs if pair[0] != "X-Amz-Signature"]
    path, query = request.raw_path, canonical.join_pairs(pairs)
    if (path, query) == tried:
        return False
    to_sign = _string_to_sign(f"{request.method}\n{path}\n{query}\n{tail}", proof)
    return _is_signature(key, to_sign, proof.signature)


def _query_fields(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The decoded X-Amz-* parameters, all required ones present and none twice."""
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name.startswith("X-Amz-"):
            if name in fields:
                raise MalformedAuthorizationQuery(f"the parameter {name[:64]} is there twice")
            fields[name] = canonical.decoded(value)
    for name in _QUERY_FIELDS:
        if not fields.get(name):
            raise MalformedAuthorizationQuery(
                f"query-string authentication requires {', '.join(_QUERY_FIELDS)}"
            )
    if (algorithm := fields["X-Amz-Algorithm"]) != ALGORITHM:
        if algorithm.startswith("AWS4-ECDSA-"):
            raise UnsupportedAlgorithm(algorithm)
        raise MalformedAuthorizationQuery(f"X-Amz-Algorithm only supports {ALGORITHM}")
    return fields


def _check_presign_time(amz_date: str, scope_date: str, expires: str, now_s: float) -> None:
    time_s = parse_amz_date(amz_date)
    if time_s is None:
        raise MalformedAuthorizationQuery("X-Amz-Date must be in the form yyyyMMddTHHmmssZ")
    if not amz_date.startswith(scope_date):
        raise MalformedAuthorizationQuery("the credential's date is not that of X-Amz-Date")
    if not (expires.isascii() and expires.isdigit() and len(expires) < 12):
        raise MalformedAuthorizationQuery("X-Amz-Expires must be a number of seconds")
    if not 1 <= int(expires) <= EXPIRES_MAX_S:
        raise MalformedAuthorizationQuery(f"X-Amz-Expires must be from 1 to {EXPIRES_MAX_S}")
    if time_s > now_s + SKEW_MAX_S:
        raise PresignNotYetValid(time_s, now_s)
    if now_s > time_s + int(expires):
        raise PresignExpired(time_s + int(expires), now_s)


def _check_all_signed(headers: Headers, signed: frozenset[str]) -> None:
    """Every x-amz-* header must be signed, else one could be slipped in under a signature."""
    for name in headers:
        if name[:6].lower() == "x-amz-":
            lower = name.lower()
            if lower not in signed and lower not in _BOUND_ANYWAY:
                raise UnsignedHeaders((lower,))


def _string_to_sign(canonical_request: str, proof: _Proof) -> str:
    digest = hashlib.sha256(canonical.wire_bytes(canonical_request)).hexdigest()
    return f"{ALGORITHM}\n{proof.amz_date}\n{proof.claim.scope}\n{digest}"


def _is_signature(key: bytes, to_sign: str, signature: str) -> bool:
    computed = hmac.digest(key, canonical.wire_bytes(to_sign), "sha256").hex()
    return hmac.compare_digest(computed.encode("ascii"), canonical.wire_bytes(signature))


def _remember(cache: dict[_K, _V], key: _K, value: _V, size_max: int) -> None:
    if len(cache) >= size_max:
        cache.clear()
    cache[key] = value
