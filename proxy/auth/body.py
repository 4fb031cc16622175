"""Which decoder a request's body gets: plain bytes, bytes with a declared SHA-256, or aws-chunked.

The front end feeds what it receives and stores what comes out; `finish` says whether it may keep it.
Decoders do no I/O, and one may be fed on a thread (hashing releases the interpreter lock).
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

from proxy.auth.chunked import AwsChunkedDecoder
from proxy.auth.errors import (
    IncompleteBody,
    InvalidDecodedLength,
    MissingDecodedLength,
    PayloadHashMismatch,
)
from proxy.auth.types import Authenticated, Headers, PayloadMode

AWS_CHUNKED = "aws-chunked"
LENGTH_DIGITS_MAX = 19

_Bytes = bytes | bytearray | memoryview


class BodyDecoder(Protocol):
    """Turns the bytes of a request's body into the object's. Any error means: give up the write."""

    def feed(self, data: bytes | bytearray | memoryview) -> Sequence[_Bytes]:
        """The object's bytes in `data`, without copies. Raises BodyError."""

    def finish(self) -> dict[str, str]:
        """The body is over: its trailers by lower-case name. Raises BodyError."""


class PlainBody:
    """A body without framing. sha256: the hex digest that it must have; size_bytes: its length."""

    def __init__(self, size_bytes: int | None, sha256: str | None) -> None:
        self._size_bytes = size_bytes
        self._declared = sha256
        self._sha256 = None if sha256 is None else hashlib.sha256()
        self._received = 0

    def feed(self, data: bytes | bytearray | memoryview) -> list[_Bytes]:
        """Raises IncompleteBody when more comes than was declared."""
        self._received += len(data)
        if self._size_bytes is not None and self._received > self._size_bytes:
            raise IncompleteBody(self._size_bytes, self._received)
        if self._sha256 is not None:
            self._sha256.update(data)
        return [data] if data else []

    def finish(self) -> dict[str, str]:
        """Raises IncompleteBody, PayloadHashMismatch."""
        if self._size_bytes is not None and self._received != self._size_bytes:
            raise IncompleteBody(self._size_bytes, self._received)
        if self._sha256 is not None and self._declared is not None:
            computed = self._sha256.hexdigest()
            if computed != self._declared:
                raise PayloadHashMismatch(self._declared, computed)
        return {}


def body_decoder(
    mode: PayloadMode,
    headers: Headers,
    authenticated: Authenticated | None,
    content_length: int | None,
) -> BodyDecoder:
    """The decoder of a body in `mode`.

    authenticated: who was admitted (its key checks signed chunks). content_length: of the body as it
    travels, None where the transfer is chunked. Raises MissingDecodedLength, InvalidDecodedLength.
    """
    if not mode.is_chunked:
        return PlainBody(content_length, mode.sha256)
    trailers = declared_trailers(headers) if mode.has_trailer else frozenset[str]()
    return AwsChunkedDecoder(mode, decoded_length(headers), trailers, authenticated)


def object_length(mode: PayloadMode, headers: Headers, content_length: int | None) -> int | None:
    """The object's size in bytes as announced, whatever the framing; None if it was not.

    Raises MissingDecodedLength, InvalidDecodedLength.
    """
    return decoded_length(headers) if mode.is_chunked else content_length


def decoded_length(headers: Headers) -> int:
    """x-amz-decoded-content-length, bytes. Raises MissingDecodedLength, InvalidDecodedLength."""
    text = headers.get("x-amz-decoded-content-length")
    if text is None:
        raise MissingDecodedLength
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= LENGTH_DIGITS_MAX):
        raise InvalidDecodedLength
    return int(text)


def declared_trailers(headers: Headers) -> frozenset[str]:
    """The lower-case names in x-amz-trailer."""
    names = ",".join(headers.getall("x-amz-trailer", [])).split(",")
    return frozenset(name for raw in names if (name := raw.strip().lower()))


def stored_content_encoding(value: str | None) -> str | None:
    """Content-Encoding without `aws-chunked`, which is of the transfer and not of the object."""
    if value is None or AWS_CHUNKED not in value.lower():
        return value
    kept = [part for raw in value.split(",") if (part := raw.strip())]
    return ",".join(part for part in kept if part.lower() != AWS_CHUNKED) or None
