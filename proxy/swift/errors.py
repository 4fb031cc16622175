"""What each error becomes in Swift: one exhaustive table, and the refusals the front end itself makes.

`app.py` is the only caller of `answer_for`; a test proves that no domain error is missing here.
"""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, NamedTuple

from proxy.auth import errors as auth
from proxy.core import errors as core

RETRY_AFTER_S: Final = 1
"""What Retry-After says beside a 503."""

CLIENT_GONE: Final = 499
"""The status Swift logs for a client that ended its request early."""

BAD_NAME: Final = "Invalid UTF8 or contains NULL"


class SwiftError(Exception):
    """A refusal by the front end, in the form it is answered: status, text and extra headers."""

    def __init__(self, status: int, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


class ErrorAnswer(NamedTuple):
    """Status and text of an answer; an empty text stands for the status' own phrase."""

    status: int
    text: str = ""


UNKNOWN: Final = ErrorAnswer(500)
"""What is not in the table: a fault of ours, of which the client learns nothing."""

_AWS_ONLY: Final = ErrorAnswer(400, "The request carries authentication of another API")

CONFLICT: Final = "There was a conflict when trying to complete your request."
"""Swift's own words for a 409."""
ERRORS: Final[Mapping[type[Exception], ErrorAnswer]] = MappingProxyType(
    {
        core.StoreError: UNKNOWN,
        core.NoSuchContainer: ErrorAnswer(404),
        core.NoSuchObject: ErrorAnswer(404),
        core.NoSuchUpload: ErrorAnswer(404),
        core.ContainerExists: ErrorAnswer(409),
        core.BucketNameTaken: ErrorAnswer(409, "The bucket name belongs to another account"),
        core.ContainerNotEmpty: ErrorAnswer(409, f"{CONFLICT} The container is not empty."),
        core.PolicyConflict: ErrorAnswer(409, "The container has another storage policy"),
        core.Conflict: ErrorAnswer(409),
        core.PreconditionFailed: ErrorAnswer(412),
        core.RangeNotSatisfiable: ErrorAnswer(416),
        core.InvalidName: ErrorAnswer(412, BAD_NAME),
        core.NameTooLong: ErrorAnswer(400, "The name is too long"),
        core.MetadataTooLarge: ErrorAnswer(400, "Total metadata too large"),
        core.UnknownPolicy: ErrorAnswer(400, "Invalid X-Storage-Policy"),
        core.ObjectTooLarge: ErrorAnswer(413, "Your request is too large."),
        core.IncompleteBody: ErrorAnswer(CLIENT_GONE),
        core.SlowBody: ErrorAnswer(408),
        core.BadDigest: ErrorAnswer(422),
        core.InvalidPart: ErrorAnswer(400),
        core.InvalidPartOrder: ErrorAnswer(400),
        core.PartTooSmall: ErrorAnswer(400),
        core.BadReference: ErrorAnswer(409, "A segment is missing or not what the manifest says"),
        core.Unavailable: ErrorAnswer(503),
        core.Full: ErrorAnswer(507),
        core.Overloaded: ErrorAnswer(503),
        core.Damaged: ErrorAnswer(503, "Too few good copies of the data can be reached"),
        core.NotSupported: ErrorAnswer(501),
        auth.AuthError: ErrorAnswer(401),
        auth.NotAuthorized: ErrorAnswer(403),
        auth.BadCredentials: ErrorAnswer(401),
        auth.InvalidToken: ErrorAnswer(401),
        auth.TokenExpired: ErrorAnswer(401),
        auth.KeystoneAway: ErrorAnswer(503, "Keystone does not answer"),
        auth.InvalidAcl: ErrorAnswer(400, "Invalid ACL"),
        # what only S3's ways of signing and framing can raise
        auth.UnknownAccessKey: _AWS_ONLY,
        auth.UnexpectedSecurityToken: _AWS_ONLY,
        auth.SignatureMismatch: _AWS_ONLY,
        auth.RequestTimeSkewed: _AWS_ONLY,
        auth.PresignExpired: _AWS_ONLY,
        auth.PresignNotYetValid: _AWS_ONLY,
        auth.MalformedAuthorization: _AWS_ONLY,
        auth.MalformedAuthorizationQuery: _AWS_ONLY,
        auth.WrongRegion: _AWS_ONLY,
        auth.WrongQueryRegion: _AWS_ONLY,
        auth.MissingDate: _AWS_ONLY,
        auth.MissingSecurityHeader: _AWS_ONLY,
        auth.UnsignedHeaders: _AWS_ONLY,
        auth.AmbiguousAuthorization: _AWS_ONLY,
        auth.UnsupportedAlgorithm: _AWS_ONLY,
        auth.UnsupportedAuthorizationType: _AWS_ONLY,
        auth.BodyError: _AWS_ONLY,
        auth.InvalidPayloadHash: _AWS_ONLY,
        auth.PayloadHashMismatch: _AWS_ONLY,
        auth.ChunkSignatureMismatch: _AWS_ONLY,
        auth.MissingDecodedLength: _AWS_ONLY,
        auth.InvalidDecodedLength: _AWS_ONLY,
        auth.MalformedChunk: _AWS_ONLY,
        auth.LineTooLong: _AWS_ONLY,
        auth.ChunkTooLarge: _AWS_ONLY,
        auth.MalformedTrailer: _AWS_ONLY,
        auth.IncompleteBody: ErrorAnswer(CLIENT_GONE),
        auth.ChecksumError: _AWS_ONLY,
        auth.InvalidDigest: _AWS_ONLY,
        auth.InvalidChecksum: _AWS_ONLY,
        auth.ConflictingChecksums: _AWS_ONLY,
        auth.UnknownChecksum: _AWS_ONLY,
        auth.ChecksumMismatch: ErrorAnswer(422),
        # the user directory is read, never written, by a front end
        auth.UserError: UNKNOWN,
        auth.InvalidUser: UNKNOWN,
        auth.DuplicateUser: UNKNOWN,
        auth.NoSuchUser: UNKNOWN,
        auth.UserFileInvalid: UNKNOWN,
    }
)


def answer_for(error: Exception) -> SwiftError:
    """The answer to any error; UNKNOWN where the table has none. Never raises."""
    if isinstance(error, SwiftError):
        return error
    status, text = ERRORS.get(type(error), UNKNOWN)
    if isinstance(error, auth.InvalidAcl):
        text = f"{text}: {error}"
    return SwiftError(status, text, headers_for(error, status))


def headers_for(error: Exception, status: int) -> dict[str, str]:
    """What an answer's headers owe to the error: Content-Range, Retry-After, a challenge."""
    if isinstance(error, core.RangeNotSatisfiable):
        return {"Content-Range": f"bytes */{error.size_bytes}"}
    if status == HTTPStatus.UNAUTHORIZED:
        return {"Www-Authenticate": 'Swift realm="unknown"'}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(RETRY_AFTER_S)}
    return {}


def phrase(status: int) -> str:
    """The reason phrase of a status."""
    if status == CLIENT_GONE:
        return "Client Disconnect"
    return HTTPStatus(status).phrase


# -- the refusals that the front end makes most ------------------------------------------------------


def bad_request(text: str) -> SwiftError:
    """400, with the text that tells why."""
    return SwiftError(400, text)


def precondition_failed(text: str) -> SwiftError:
    """412, which Swift uses for malformed names, limits and Destination headers, too."""
    return SwiftError(412, text)


def not_implemented(what: str) -> SwiftError:
    """501: something of Swift's that is not there, instead of a silence about it."""
    return SwiftError(501, f"{what} is not implemented here")


def method_not_allowed(allowed: tuple[str, ...]) -> SwiftError:
    """405 with the methods that are there."""
    return SwiftError(405, headers={"Allow": ", ".join(allowed)})
