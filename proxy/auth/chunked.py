"""aws-chunked bodies: framing, chained chunk signatures and trailers, decoded as the bytes arrive.

Source: Amazon S3 API reference, "Signature Calculations for the Authorization Header: Transferring
Payload in Multiple Chunks" and "... Including Trailing Headers". Nothing of a chunk is kept: its
bytes are handed on at once and hashed on the way, so a wrong signature is known at the chunk's end,
and the caller must then give up the write. Which body gets which decoder is `body.py`'s matter.
"""

import enum
import hashlib
import hmac
import re

from proxy.auth.errors import (
    ChunkSignatureMismatch,
    ChunkTooLarge,
    IncompleteBody,
    LineTooLong,
    MalformedChunk,
    MalformedTrailer,
)
from proxy.auth.types import EMPTY_SHA256, Authenticated, PayloadMode

LINE_BYTES_MAX = 1024
CHUNK_BYTES_MAX = 5 * 1024**3
TRAILERS_MAX = 16
TRAILER_SIGNATURE = "x-amz-trailer-signature"

_SIGNED_HEADER = re.compile(rb"([0-9a-fA-F]{1,16});chunk-signature=([0-9a-f]{64})")
_UNSIGNED_HEADER = re.compile(rb"([0-9a-fA-F]{1,16})")
_TRAILER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([!-~](?:[ -~]*[!-~])?)?[ \t]*")


class ChunkSignatures:
    """The chain: each signature covers the one before it, the first that of the request."""

    def __init__(self, authenticated: Authenticated) -> None:
        self._key = authenticated.signing_key
        self._context = f"{authenticated.amz_date}\n{authenticated.scope}"
        self._previous = authenticated.signature

    def matches_chunk(self, payload_sha256: str, signature: str) -> bool:
        """Is this the next chunk's signature? payload_sha256: hex."""
        link = f"{self._context}\n{self._previous}\n{EMPTY_SHA256}\n{payload_sha256}"
        return self._advance(f"AWS4-HMAC-SHA256-PAYLOAD\n{link}", signature)

    def matches_trailer(self, trailers: dict[str, str], signature: str) -> bool:
        """Is this the signature of the trailers, which end the chain?"""
        lines = "".join(f"{name}:{value}\n" for name, value in sorted(trailers.items()))
        digest = hashlib.sha256(lines.encode("ascii")).hexdigest()
        link = f"{self._context}\n{self._previous}\n{digest}"
        return self._advance(f"AWS4-HMAC-SHA256-TRAILER\n{link}", signature)

    def _advance(self, to_sign: str, signature: str) -> bool:
        self._previous = hmac.digest(self._key, to_sign.encode("utf-8"), "sha256").hex()
        return hmac.compare_digest(self._previous, signature)


class _State(enum.Enum):
    CHUNK_HEADER = enum.auto()
    CHUNK_DATA = enum.auto()
    CHUNK_END = enum.auto()
    TRAILERS = enum.auto()
    DONE = enum.auto()
    REFUSED = enum.auto()


class AwsChunkedDecoder:
    """Decodes one body; memory is bounded by one line, whatever the chunks' sizes.

    mode: one of the STREAMING kinds. decoded_bytes: x-amz-decoded-content-length. declared_trailers:
    the lower-case names of x-amz-trailer, each of which must come, and no other. authenticated: whose
    key began the chain; needed by the signed kinds alone.
    """

    def __init__(
        self,
        mode: PayloadMode,
        decoded_bytes: int,
        declared_trailers: frozenset[str],
        authenticated: Authenticated | None,
    ) -> None:
        if mode.has_signed_chunks and authenticated is None:
            raise ValueError("signed chunks need the key that signed the request")
        self._mode = mode
        self._signatures = (
            ChunkSignatures(authenticated) if authenticated and mode.has_signed_chunks else None
        )
        self._decoded_bytes = decoded_bytes
        self._declared = declared_trailers - {TRAILER_SIGNATURE}
        self._known = self._declared | ({TRAILER_SIGNATURE} if self._signatures else set())
        self._state = _State.CHUNK_HEADER
        self._line = b""  # the beginning of a line whose end has not come yet
        self._left = 0  # bytes of the present chunk that have not come yet
        self._taken = 0  # decoded bytes announced by the chunk headers so far
        self._sha256 = hashlib.sha256()
        self._chunk_signature = ""
        self._trailers: dict[str, str] = {}

    def feed(self, data: bytes | bytearray | memoryview) -> list[memoryview]:
        """The payload in `data`, as views of it (no copies: use them before `data` changes).

        After an error the decoder is done for. Raises MalformedChunk, LineTooLong, ChunkTooLarge,
        ChunkSignatureMismatch, MalformedTrailer, IncompleteBody.
        """
        try:
            return self._feed(memoryview(data).cast("B"))
        except BaseException:
            self._state = _State.REFUSED
            raise

    def _feed(self, view: memoryview) -> list[memoryview]:
        pieces: list[memoryview] = []
        position = 0
        while position < len(view):
            if self._state is _State.CHUNK_DATA:
                piece = view[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._take_payload(piece)
            elif self._state in (_State.DONE, _State.REFUSED):
                raise MalformedChunk("bytes after the end of the aws-chunked body")
            else:
                position = self._take_line(view, position)
        return pieces

    def finish(self) -> dict[str, str]:
        """The trailers by lower-case name, once the body has ended. Raises IncompleteBody."""
        if self._state is not _State.DONE:
            raise IncompleteBody(self._decoded_bytes, self._taken - self._left)
        return self._trailers

    def _take_payload(self, piece: memoryview) -> None:
        self._left -= len(piece)
        if self._signatures is not None:
            self._sha256.update(piece)
        if self._left == 0:
            self._check_chunk()
            self._state = _State.CHUNK_END

    def _check_chunk(self) -> None:
        if self._signatures is None:
            return
        digest = self._sha256.hexdigest()
        if not self._signatures.matches_chunk(digest, self._chunk_signature):
            raise ChunkSignatureMismatch("chunk", self._taken)

    def _take_line(self, view: memoryview, position: int) -> int:
        """Consume up to the end of the line, or all there is of it; the position after it."""
        room = LINE_BYTES_MAX + 2 - len(self._line)
        window = bytes(view[position : position + room])
        end = window.find(b"\n")
        if end < 0:
            self._line += window
            if len(window) == room:
                raise LineTooLong(LINE_BYTES_MAX)
            return position + len(window)
        line = self._line + window[:end]
        self._line = b""
        if not line.endswith(b"\r"):
            raise MalformedChunk("a line of the aws-chunked framing does not end in CR LF")
        self._on_line(line[:-1])
        return position + end + 1

    def _on_line(self, line: bytes) -> None:
        if self._state is _State.CHUNK_HEADER:
            self._on_chunk_header(line)
        elif self._state is _State.CHUNK_END:
            if line:
                raise MalformedChunk("a chunk is longer than its header says")
            self._state = _State.CHUNK_HEADER
        elif line:
            self._on_trailer(line)
        else:
            self._on_end()

    def _on_chunk_header(self, line: bytes) -> None:
        pattern = _SIGNED_HEADER if self._signatures is not None else _UNSIGNED_HEADER
        if (match := pattern.fullmatch(line)) is None:
            raise MalformedChunk("a chunk header cannot be read")
        size = int(match[1], 16)
        if size > CHUNK_BYTES_MAX:
            raise ChunkTooLarge(size, CHUNK_BYTES_MAX)
        if self._taken + size > self._decoded_bytes:
            raise IncompleteBody(self._decoded_bytes, self._taken + size)
        if self._signatures is not None:
            self._chunk_signature = match[2].decode("ascii")
            self._sha256 = hashlib.sha256()
        self._taken += size
        self._left = size
        self._state = _State.CHUNK_DATA if size else _State.TRAILERS
        if size == 0:
            self._on_last_chunk()

    def _on_last_chunk(self) -> None:
        self._check_chunk()
        if self._taken != self._decoded_bytes:
            raise IncompleteBody(self._decoded_bytes, self._taken)

    def _on_trailer(self, line: bytes) -> None:
        if not self._mode.has_trailer:
            raise MalformedChunk("trailers in a payload mode without them")
        match = _TRAILER.fullmatch(line.decode("latin-1"))
        if match is None or match[2] is None:
            raise MalformedTrailer("a trailer cannot be read")
        name = match[1].lower()
        if name in self._trailers or len(self._trailers) >= TRAILERS_MAX:
            raise MalformedTrailer("a trailer is there twice, or there are too many")
        if name not in self._known:
            raise MalformedTrailer(f"the trailer {name[:64]!r} was not declared")
        self._trailers[name] = match[2]

    def _on_end(self) -> None:
        signature = self._trailers.pop(TRAILER_SIGNATURE, None)
        if missing := self._declared - self._trailers.keys():
            raise MalformedTrailer(f"the declared trailer {min(missing)[:64]!r} is missing")
        if self._mode.has_trailer and self._signatures is not None:
            self._check_trailer(self._signatures, signature)
        self._state = _State.DONE

    def _check_trailer(self, signatures: ChunkSignatures, signature: str | None) -> None:
        if signature is None:
            raise MalformedTrailer(f"the trailer {TRAILER_SIGNATURE} is missing")
        if not signatures.matches_trailer(self._trailers, signature):
            raise ChunkSignatureMismatch("trailer", self._taken)
