"""The words of admission: a request as it came over the wire, payload modes, and who was let in."""

import enum
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from proxy.auth.users import User

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"


class Headers(Protocol):
    """Request headers by name, whatever its case; multidict's CIMultiDict is one.

    Values are text as UTF-8 with surrogateescape makes it of the bytes on the wire.
    """

    def get(self, key: str, /) -> str | None:
        """The first value, or None."""

    def getall(self, key: str, default: list[str], /) -> list[str]:
        """All values in their order, or `default`."""

    def __iter__(self) -> Iterator[str]:
        """The names as they were sent, once per value."""


class RequestView(NamedTuple):
    """What a signature is made over.

    raw_path, raw_query: the two sides of the request target's first `?`, exactly as on the wire: not
    decoded, not normalised. now_s: the server's time, seconds since the Unix epoch.
    """

    method: str
    raw_path: str
    raw_query: str
    headers: Headers
    now_s: float


class PayloadKind(enum.Enum):
    """How the body is framed and what vouches for it."""

    SIGNED = "sha256"
    UNSIGNED = UNSIGNED_PAYLOAD
    STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


class PayloadMode(NamedTuple):
    """A kind with, for SIGNED, the hex SHA-256 that the body must have."""

    kind: PayloadKind
    sha256: str | None = None

    @property
    def is_chunked(self) -> bool:
        """The body is in aws-chunked framing."""
        return self.kind not in (PayloadKind.SIGNED, PayloadKind.UNSIGNED)

    @property
    def has_signed_chunks(self) -> bool:
        return self.kind in (PayloadKind.STREAMING_SIGNED, PayloadKind.STREAMING_SIGNED_TRAILER)

    @property
    def has_trailer(self) -> bool:
        return self.kind in (
            PayloadKind.STREAMING_SIGNED_TRAILER,
            PayloadKind.STREAMING_UNSIGNED_TRAILER,
        )


UNSIGNED = PayloadMode(PayloadKind.UNSIGNED)


class Authenticated(NamedTuple):
    """A request whose signature was right.

    signing_key, signature (hex), amz_date and scope begin the chain of chunk signatures; after SigV2
    they are empty.
    """

    user: User
    payload: PayloadMode
    signing_key: bytes
    signature: str
    amz_date: str
    scope: str

    def __repr__(self) -> str:  # the signing key is a secret
        return f"Authenticated(user={self.user!r}, payload={self.payload!r}, scope={self.scope!r})"
