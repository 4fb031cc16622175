"""Signature Version 4 in the Authorization header, made before the clock starts.

The payload stays unsigned (`UNSIGNED-PAYLOAD`), so a request is signed without touching its body and
is good for as long as the server accepts its date (15 minutes). The generator signs its load with
it, the harness its control requests. Source: "Signature Calculations for the Authorization Header"
in the Amazon S3 API reference.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client signs with."""

    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """A query string in the canonical form: percent-encoded, sorted by name."""
    return "&".join(
        sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    )


def canonical_path(bucket: str, key: str = "") -> str:
    """The path-style resource of a bucket or of an object in it."""
    return f"/{bucket}/{quote(key, safe='/-_.~')}" if key else f"/{bucket}"


class Signer:
    """Signs requests to one host at one instant; what does not change is computed once."""

    def __init__(self, credentials: Credentials, host: str, now: datetime) -> None:
        self._host = host
        self._date = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._scope = f"{self._date[:8]}/{credentials.region}/s3/aws4_request"
        self._credential = f"{credentials.access_key}/{self._scope}"
        self._key = _signing_key(credentials, self._date[:8])

    def headers(self, method: str, path: str, query: str = "") -> dict[str, str]:
        """The headers of a signed request, lower-case names; all but the signature are signed."""
        headers = {  # in the canonical order, which is that of the names
            "host": self._host,
            "x-amz-content-sha256": UNSIGNED_PAYLOAD,
            "x-amz-date": self._date,
        }
        listed = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{listed}\n{UNSIGNED_PAYLOAD}"
        headers["authorization"] = (
            f"{_ALGORITHM} Credential={self._credential}, SignedHeaders={listed}, "
            f"Signature={self._signature(canonical)}"
        )
        return headers

    def head(self, method: str, path: str, query: str = "", size_bytes: int | None = None) -> bytes:
        """The request up to the blank line, as it goes on the wire; size_bytes of the body, if any."""
        headers = self.headers(method, path, query)
        if size_bytes is not None:
            headers["content-length"] = str(size_bytes)
        target = f"{path}?{query}" if query else path
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode()

    def _signature(self, canonical: str) -> str:
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{self._date}\n{self._scope}\n{digest}"
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()


def _signing_key(credentials: Credentials, day: str) -> bytes:
    key = b"AWS4" + credentials.secret_key.encode()
    for part in (day, credentials.region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
