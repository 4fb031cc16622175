"""Exact reads over a body that arrives in pieces of any size, decompressed on the way.

For `bulk.py` (lines) and `tar.py` (blocks). What is held in memory is bounded by the callers' limits
and one piece.
"""

import asyncio
import bz2
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

PIECE_MAX_BYTES: Final = 1024 * 1024
"""The most that one step of decompression puts out: a small body cannot fill the memory."""

_GZIP_WINDOW: Final = 31

ReadPiece = Callable[[], Awaitable[bytes]]


class BadCompression(Exception):
    """The body is not what its archive format says."""


class ByteSource:
    """Reads of exact sizes over `read_piece`, which gives b"" at the end."""

    def __init__(self, read_piece: ReadPiece) -> None:
        self._read_piece = read_piece
        self._held = bytearray()
        self._ended = False

    async def _fill(self) -> bool:
        """Hold more; False at the end."""
        if not self._ended:
            piece = await self._read_piece()
            self._ended = not piece
            self._held += piece
        return not self._ended

    async def prime(self) -> None:
        """Fetch the first piece, so that a client that waits for `100 Continue` begins to send."""
        await self._fill()

    async def some(self, max_bytes: int) -> bytes:
        """At least one and at most `max_bytes` bytes; b"" at the end."""
        while not self._held and await self._fill():
            pass
        return self._take(min(max_bytes, len(self._held)))

    async def exactly(self, size_bytes: int) -> bytes:
        """`size_bytes` bytes, fewer only at the end."""
        while len(self._held) < size_bytes and await self._fill():
            pass
        return self._take(min(size_bytes, len(self._held)))

    async def skip(self, size_bytes: int) -> int:
        """Let bytes go by; how many there were."""
        left = size_bytes
        while left and (piece := await self.some(min(left, PIECE_MAX_BYTES))):
            left -= len(piece)
        return size_bytes - left

    async def line(self, max_bytes: int) -> bytes | None:
        """The next line without its end, None after the last. Raises ValueError where it is longer."""
        searched = 0
        while (end := self._held.find(b"\n", searched)) < 0:
            searched = len(self._held)
            if searched > max_bytes:
                raise ValueError(f"a line is longer than {max_bytes} bytes")
            if not await self._fill():
                return self._take(len(self._held)) if self._held else None
        line = self._take(end + 1)[:-1]
        if len(line) > max_bytes:
            raise ValueError(f"a line is longer than {max_bytes} bytes")
        return line

    def _take(self, size_bytes: int) -> bytes:
        taken = bytes(memoryview(self._held)[:size_bytes])
        del self._held[:size_bytes]
        return taken


class Decoder(Protocol):
    """One compression."""

    def step(self, data: bytes) -> tuple[bytes, bytes]:
        """Bytes put out, at most PIECE_MAX_BYTES, and what of `data` is left for the next step."""

    @property
    def complete(self) -> bool:
        """True where the data may end here."""


class _Gzip:
    """One or more gzip members, in bounded steps."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)

    def step(self, data: bytes) -> tuple[bytes, bytes]:
        """As `Decoder.step`."""
        if self._member.eof:
            self._member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            out = self._member.decompress(data, PIECE_MAX_BYTES)
        except zlib.error as error:
            raise BadCompression("not gzip") from error
        return out, self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    @property
    def complete(self) -> bool:
        """As `Decoder.complete`."""
        return self._member.eof


class _Bzip2:
    """One or more bzip2 streams, in bounded steps."""

    def __init__(self) -> None:
        self._stream = bz2.BZ2Decompressor()

    def step(self, data: bytes) -> tuple[bytes, bytes]:
        """As `Decoder.step`; what the stream itself keeps for later is asked for by an empty step."""
        if self._stream.eof:
            self._stream = bz2.BZ2Decompressor()
        try:
            out = self._stream.decompress(data, PIECE_MAX_BYTES)
        except (OSError, ValueError) as error:
            raise BadCompression("not bzip2") from error
        return out, self._stream.unused_data if self._stream.eof else b""

    @property
    def complete(self) -> bool:
        """As `Decoder.complete`."""
        return self._stream.eof


DECODERS: Final[Mapping[str, type[Decoder]]] = {"gz": _Gzip, "bz2": _Bzip2}


class Decompressed:
    """The pieces of a compressed body, decompressed on a thread. compression: a key of DECODERS."""

    def __init__(self, read_piece: ReadPiece, compression: str) -> None:
        self._read_piece = read_piece
        self._decoder = DECODERS[compression]()
        self._left = b""
        self._hungry = True

    async def read(self) -> bytes:
        """The next piece, at most PIECE_MAX_BYTES, b"" at the end. Raises BadCompression."""
        while True:
            if self._hungry and not self._left:
                self._left = await self._read_piece()
                if not self._left:
                    return self._at_end()
            out, self._left = await asyncio.to_thread(self._decoder.step, self._left)
            # a full step may have more inside; one that is not full has put out all it can
            self._hungry = len(out) < PIECE_MAX_BYTES or self._decoder.complete
            if out:
                return out

    def _at_end(self) -> bytes:
        if not self._decoder.complete:
            raise BadCompression("the compressed data end early")
        return b""
