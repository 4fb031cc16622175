"""Everything that admission and body decoding can refuse, as exceptions with fields.

The front ends map each class to an answer of their API; the docstrings name the code and status that
Amazon S3 answers in that case (S3 API reference, "Error responses"). No message holds a secret.
"""


class AuthError(Exception):
    """Base of all refusals of this package."""


# ---- who is asking -------------------------------------------------------------------------------


class NotAuthorized(AuthError):
    """Known or anonymous, but not allowed. S3: AccessDenied, 403."""


class UnknownAccessKey(AuthError):
    """No user has this access key. S3: InvalidAccessKeyId, 403."""

    def __init__(self, access_key: str) -> None:
        super().__init__("the access key is not known here")
        self.access_key = access_key


class UnexpectedSecurityToken(AuthError):
    """A session token came along, and this store issues none. S3: InvalidToken, 400."""

    def __init__(self) -> None:
        super().__init__("the access key has no session token; send the request without one")


class SignatureMismatch(AuthError):
    """The signature is not that of the request. S3: SignatureDoesNotMatch, 403.

    canonical_request and string_to_sign are what the server signed, for the client to compare; they
    hold nothing that the client did not send.
    """

    def __init__(
        self,
        access_key: str,
        signature_provided: str,
        string_to_sign: str,
        canonical_request: str = "",
    ) -> None:
        super().__init__("the signature does not match the request")
        self.access_key = access_key
        self.signature_provided = signature_provided
        self.string_to_sign = string_to_sign
        self.canonical_request = canonical_request


class RequestTimeSkewed(AuthError):
    """The request's time is too far from the server's. S3: RequestTimeTooSkewed, 403.

    Times are seconds since the Unix epoch.
    """

    def __init__(self, request_time_s: float, server_time_s: float, max_skew_s: float) -> None:
        super().__init__("the request's time is too far from the server's")
        self.request_time_s = request_time_s
        self.server_time_s = server_time_s
        self.max_skew_s = max_skew_s


class PresignExpired(AuthError):
    """A presigned request came after its end. S3: AccessDenied "Request has expired", 403."""

    def __init__(self, expired_at_s: float, server_time_s: float) -> None:
        super().__init__("the request has expired")
        self.expired_at_s = expired_at_s
        self.server_time_s = server_time_s


class PresignNotYetValid(AuthError):
    """A presigned request is dated in the future. S3: AccessDenied, 403."""

    def __init__(self, valid_from_s: float, server_time_s: float) -> None:
        super().__init__("the request is not yet valid")
        self.valid_from_s = valid_from_s
        self.server_time_s = server_time_s


class MalformedAuthorization(AuthError):
    """The Authorization header cannot be read. S3: AuthorizationHeaderMalformed, 400."""


class MalformedAuthorizationQuery(AuthError):
    """The X-Amz-* or V2 parameters of a presigned request are incomplete or wrong.

    S3: AuthorizationQueryParametersError, 400.
    """


class WrongRegion(MalformedAuthorization):
    """Signed for another region than the configured one; `expected` goes into S3's <Region>."""

    def __init__(self, given: str, expected: str) -> None:
        super().__init__(f"the region '{given}' is wrong; expecting '{expected}'")
        self.given = given
        self.expected = expected


class WrongQueryRegion(MalformedAuthorizationQuery):
    """As `WrongRegion`, in a presigned request."""

    def __init__(self, given: str, expected: str) -> None:
        super().__init__(f"the region '{given}' is wrong; expecting '{expected}'")
        self.given = given
        self.expected = expected


class MissingDate(AuthError):
    """Neither a usable x-amz-date nor Date. S3: AccessDenied, 403."""

    def __init__(self) -> None:
        super().__init__("authentication requires a valid Date or x-amz-date header")


class MissingSecurityHeader(AuthError):
    """A header that authentication needs is absent. S3: MissingSecurityHeader, 400.

    For `x-amz-content-sha256` S3 answers InvalidRequest, 400.
    """

    def __init__(self, header: str) -> None:
        super().__init__(f"missing required header for this request: {header}")
        self.header = header


class UnsignedHeaders(AuthError):
    """Headers were sent that must be signed and are not. S3: AccessDenied, 403."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(f"headers present in the request were not signed: {', '.join(names)}")
        self.names = names


class AmbiguousAuthorization(AuthError):
    """More than one way of authentication in one request. S3: InvalidArgument, 400."""

    def __init__(self) -> None:
        super().__init__("only one authentication mechanism is allowed in a request")


class UnsupportedAlgorithm(AuthError):
    """A signature scheme that is not implemented, as SigV4A. S3: NotImplemented, 501."""

    def __init__(self, algorithm: str) -> None:
        super().__init__(f"the signature algorithm {algorithm[:64]!r} is not implemented")
        self.algorithm = algorithm


class UnsupportedAuthorizationType(AuthError):
    """The Authorization header's scheme is unknown. S3: InvalidArgument, 400."""

    def __init__(self) -> None:
        super().__init__("unsupported authorization type")


class BadCredentials(AuthError):
    """A Swift login or its key is wrong; which of them is not told. Swift: 401."""

    def __init__(self) -> None:
        super().__init__("the login or the key is wrong")


class InvalidToken(AuthError):
    """A Swift token that this cluster did not issue, or no longer honours. Swift: 401."""

    def __init__(self, reason: str = "the token is not valid") -> None:
        super().__init__(reason)


class KeystoneAway(AuthError):
    """Whose token it is can't be found out now: Keystone does not answer, or not as it should. 503."""


class TokenExpired(InvalidToken):
    """A Swift token whose time is over. Swift: 401."""

    def __init__(self) -> None:
        super().__init__("the token has expired")


# ---- is the body what was signed -----------------------------------------------------------------


class BodyError(AuthError):
    """Base of the refusals of a body: the write must be given up."""


class InvalidPayloadHash(BodyError):
    """x-amz-content-sha256 is neither a digest nor a known mode. S3: InvalidArgument, 400."""

    def __init__(self, value: str) -> None:
        super().__init__("x-amz-content-sha256 must be a hex SHA-256 or a known payload mode")
        self.value = value


class PayloadHashMismatch(BodyError):
    """The body is not that of x-amz-content-sha256. S3: XAmzContentSHA256Mismatch, 400."""

    def __init__(self, declared: str, computed: str) -> None:
        super().__init__("the body does not match x-amz-content-sha256")
        self.declared = declared
        self.computed = computed


class ChunkSignatureMismatch(BodyError):
    """A chunk's or the trailer's signature is wrong. S3: SignatureDoesNotMatch, 403.

    offset_bytes: where in the decoded body the chunk ended.
    """

    def __init__(self, what: str, offset_bytes: int) -> None:
        super().__init__(f"the signature of the {what} that ends at {offset_bytes} does not match")
        self.what = what
        self.offset_bytes = offset_bytes


class MissingDecodedLength(BodyError):
    """An aws-chunked body without x-amz-decoded-content-length. S3: MissingContentLength, 411."""

    def __init__(self) -> None:
        super().__init__("an aws-chunked body needs the header x-amz-decoded-content-length")


class InvalidDecodedLength(BodyError):
    """x-amz-decoded-content-length is not a length. S3: InvalidArgument, 400."""

    def __init__(self) -> None:
        super().__init__("x-amz-decoded-content-length is not a length in bytes")


class MalformedChunk(BodyError):
    """The aws-chunked framing is broken. S3: InvalidRequest, 400."""


class LineTooLong(MalformedChunk):
    """A chunk header or trailer line is longer than the named limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"a chunk header or trailer line is longer than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class ChunkTooLarge(MalformedChunk):
    """A chunk announces more than the named limit."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"a chunk of {size_bytes} bytes is over the limit of {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class MalformedTrailer(BodyError):
    """Trailers are missing, undeclared or broken. S3: MalformedTrailerError, 400."""


class IncompleteBody(BodyError):
    """The body ended early, or has another length than declared. S3: IncompleteBody, 400."""

    def __init__(self, declared_bytes: int, received_bytes: int) -> None:
        super().__init__(f"the body has {received_bytes} bytes, declared were {declared_bytes}")
        self.declared_bytes = declared_bytes
        self.received_bytes = received_bytes


# ---- checksums -----------------------------------------------------------------------------------


class ChecksumError(BodyError):
    """Base of the refusals about digests of a body."""


class InvalidDigest(ChecksumError):
    """Content-MD5 is not base64 of 16 bytes. S3: InvalidDigest, 400."""

    def __init__(self) -> None:
        super().__init__("the Content-MD5 that was sent is not valid")


class InvalidChecksum(ChecksumError):
    """A checksum header or trailer has no digest of its algorithm. S3: InvalidRequest, 400."""

    def __init__(self, header: str) -> None:
        super().__init__(f"the value of {header} is not valid")
        self.header = header


class ConflictingChecksums(ChecksumError):
    """Two checksums, or two headers that name different algorithms. S3: InvalidRequest, 400."""


class UnknownChecksum(ChecksumError):
    """An algorithm, checksum type or trailer that is not known. S3: InvalidRequest, 400."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the checksum algorithm, type or trailer {name[:64]!r} is not supported")
        self.name = name


class ChecksumMismatch(ChecksumError):
    """The body has another digest than the one sent with it. S3: BadDigest, 400."""

    def __init__(self, algorithm: str, declared: str, computed: str) -> None:
        super().__init__(f"the {algorithm} that was sent does not match the body's")
        self.algorithm = algorithm
        self.declared = declared
        self.computed = computed


# ---- access lists and the user file --------------------------------------------------------------


class InvalidAcl(AuthError):
    """X-Container-Read or X-Container-Write cannot be read. Swift: 400."""


class UserError(AuthError):
    """Base of the refusals of the user directory; the command line prints them."""


class InvalidUser(UserError):
    """A user's field has a value that cannot be used."""


class DuplicateUser(UserError):
    """The name, access key or Swift login is already taken."""

    def __init__(self, field: str, value: str) -> None:
        super().__init__(f"a user with {field} {value!r} exists already")
        self.field = field
        self.value = value


class NoSuchUser(UserError):
    """There is no user of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no user {name!r}")
        self.name = name


class UserFileInvalid(UserError):
    """The user file cannot be read or parsed; `reason` tells why, without quoting its lines."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"the user file {path} is not usable: {reason}")
        self.path = path
        self.reason = reason
