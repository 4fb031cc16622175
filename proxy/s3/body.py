"""Bodies of writes: what arrives, minus its framing, checked against what the client promised.

`upload_body` picks the cheapest `proxy.core.types.Body` that keeps the promises made: nothing to
check means the raw body itself. Decoding and digests are `proxy/auth`'s; reading is `proxy/http.py`'s.
"""

import asyncio
import hashlib
from collections import deque
from typing import Final

from proxy.auth.body import BodyDecoder, body_decoder, object_length
from proxy.auth.checksums import (
    Checksum,
    ChecksumAlgorithm,
    DeclaredChecksum,
    check_digest,
    parse_checksum_headers,
    parse_content_md5,
    to_base64,
)
from proxy.auth.errors import ChecksumMismatch
from proxy.auth.errors import IncompleteBody as LengthMismatch
from proxy.core.types import Body, Buffer, OpenObject
from proxy.http import IncomingBody, content_length
from proxy.s3.errors import S3Error
from proxy.s3.request import S3Request

THREAD_MIN_BYTES: Final = 128 * 1024
"""Pieces from this size on are hashed on a thread: the loop would stall for 100 us and more."""

AT_ONCE_MAX_BYTES: Final = 256 * 1024
"""A body of at most this length on the wire is read at once; framing may make a long one of little."""

DOCUMENT_MAX_BYTES: Final = 64 * 1024
"""The largest XML document of a call that names no limit of its own."""


class CheckedBody:
    """A body that is decoded and digested on its way. declared: the digest it must have.

    algorithm: what to compute where nothing is declared (parts of an upload that wants checksums).
    """

    def __init__(
        self,
        incoming: IncomingBody,
        decoder: BodyDecoder,
        size_bytes: int | None,
        declared: DeclaredChecksum | None,
        algorithm: ChecksumAlgorithm | None,
    ) -> None:
        self.size_bytes = size_bytes
        self._incoming = incoming
        self._decoder = decoder
        self._declared = declared
        wanted = declared.algorithm if declared is not None else algorithm
        self._checksum: Checksum | None = None if wanted is None else wanted.new()
        self._ready: deque[Buffer] = deque()
        self._received = 0

    async def read(self) -> Buffer:
        """The next piece, b"" at the end. Raises BodyError, SlowBody, IncompleteBody."""
        while not self._ready:
            piece = await self._incoming.read()
            if not piece:
                return b""
            if len(piece) < THREAD_MIN_BYTES:
                self._ready.extend(self._take(piece))
            else:
                self._ready.extend(await asyncio.to_thread(self._take, piece))
        return self._ready.popleft()

    async def read_all(self) -> bytes:
        """The whole body of a small write. Raises as `read`."""
        wire_bytes = self._incoming.size_bytes
        if wire_bytes is not None and wire_bytes <= AT_ONCE_MAX_BYTES:
            pieces = self._take(await self._incoming.read_all())
        else:
            pieces = []
            while piece := await self.read():
                pieces.append(piece)
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    def _take(self, piece: Buffer) -> list[Buffer]:
        """Decode and digest what arrived."""
        pieces = [part for part in self._decoder.feed(piece) if len(part)]
        for part in pieces:
            self._received += len(part)
            if self._checksum is not None:
                self._checksum.update(part)
        return pieces

    def finish(self) -> dict[str, str]:
        """Raises BodyError where the body is not what was promised."""
        trailers = self._decoder.finish()
        if self.size_bytes is not None and self._received != self.size_bytes:
            raise LengthMismatch(self.size_bytes, self._received)
        if self._checksum is None:
            return {}
        digest = self._checksum.digest()
        if self._declared is not None:
            check_digest(self._declared, digest, trailers)
        return {self._checksum.algorithm.value: to_base64(digest)}


class CopiedBody:
    """A span of an object of the store as the body of another write."""

    def __init__(
        self, source: OpenObject, offset: int, length: int, algorithm: ChecksumAlgorithm | None
    ) -> None:
        self.size_bytes: int | None = length
        self._pieces = source.stream(offset, length)
        self._checksum: Checksum | None = None if algorithm is None else algorithm.new()

    async def read(self) -> Buffer:
        """The next piece, b"" at the end. Raises Damaged, BadReference."""
        piece = await anext(self._pieces, b"")
        if self._checksum is not None and piece:
            if len(piece) < THREAD_MIN_BYTES:
                self._checksum.update(piece)
            else:
                await asyncio.to_thread(self._checksum.update, piece)
        return piece

    async def read_all(self) -> bytes:
        """The whole span. Raises as `read`."""
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    def finish(self) -> dict[str, str]:
        """The checksum that was asked for."""
        if self._checksum is None:
            return {}
        return {self._checksum.algorithm.value: to_base64(self._checksum.digest())}

    async def aclose(self) -> None:
        """Stop reading."""
        await self._pieces.aclose()


def upload_body(request: S3Request, algorithm: ChecksumAlgorithm | None = None) -> Body:
    """The body of a PUT of an object or part.

    algorithm: a checksum to compute where the client declares none. Raises S3Error
    MissingContentLength; the errors of `parse_checksum_headers` and `body_decoder`.
    """
    headers = request.headers
    mode = request.payload
    wire_bytes = content_length(request.http)
    if wire_bytes == 0 and headers.get("Content-Length") is None:
        raise S3Error("MissingContentLength")
    size_bytes = object_length(mode, headers, wire_bytes)
    declared = parse_checksum_headers(headers) if promises_checksum(request) else None
    incoming = IncomingBody(request.http)
    if declared is None and algorithm is None and mode.sha256 is None and not mode.is_chunked:
        return incoming
    decoder = body_decoder(mode, headers, request.authenticated, wire_bytes)
    return CheckedBody(incoming, decoder, size_bytes, declared, algorithm)


def promises_checksum(request: S3Request) -> bool:
    """Is there any header about checksums? Spares the common small write a look at all of them."""
    for name in request.amz:
        if name.startswith(("x-amz-checksum-", "x-amz-sdk-checksum", "x-amz-trailer")):
            return True
    return False


def content_md5(request: S3Request) -> str:
    """Content-MD5 in hex, "" where there is none. Raises InvalidDigest."""
    text = request.headers.get("Content-MD5")
    return "" if text is None else parse_content_md5(text).hex()


async def read_document(
    request: S3Request,
    *,
    max_bytes: int = DOCUMENT_MAX_BYTES,
    digest_required: bool = False,
    checksums_of_object: bool = False,
) -> bytes:
    """The whole body of a call that takes a document, checked.

    digest_required: the client must send Content-MD5 or a checksum. checksums_of_object: the
    x-amz-checksum-* headers are not about this document. Raises S3Error
    MaxMessageLengthExceeded, InvalidRequest; BodyError, SlowBody, IncompleteBody, ChecksumMismatch.
    """
    headers, mode = request.headers, request.payload
    wire_bytes = content_length(request.http)
    size_bytes = object_length(mode, headers, wire_bytes)
    if size_bytes is not None and size_bytes > max_bytes:
        raise S3Error("MaxMessageLengthExceeded", fields={"MaxMessageLengthBytes": max_bytes})
    declared = None
    if not checksums_of_object and promises_checksum(request):
        declared = parse_checksum_headers(headers)
    md5 = content_md5(request)
    if digest_required and not md5 and declared is None:
        raise S3Error("InvalidRequest", "The request needs a Content-MD5 or an x-amz-checksum- header.")
    decoder = body_decoder(mode, headers, request.authenticated, wire_bytes)
    body = CheckedBody(IncomingBody(request.http), decoder, size_bytes, declared, None)
    data = bytearray()
    while piece := await body.read():
        data += piece
        if len(data) > max_bytes:
            raise S3Error("MaxMessageLengthExceeded", fields={"MaxMessageLengthBytes": max_bytes})
    body.finish()
    if md5 and (computed := hashlib.md5(data).hexdigest()) != md5:
        raise ChecksumMismatch("MD5", md5, computed)
    return bytes(data)
