"""How a format reads a stream: it asks for pieces in ascending order and gets them when they pass by.

A format is a generator. It yields a `Piece` and is sent its bytes (fewer where the stream ends before),
and returns what it found. Only the piece that is asked for is kept.
"""

from collections.abc import Generator
from typing import Final, Generic, NamedTuple, TypeVar

from compute.image.formats.verdict import Mismatch

PIECE_MAX_BYTES: Final = 1024 * 1024
"""No format may ask for more at once."""

Result = TypeVar("Result")


class Piece(NamedTuple):
    """A range of the stream, in bytes."""

    offset: int
    length: int


Reader = Generator[Piece, bytes, Result]


class Window(Generic[Result]):
    """Feeds one reader. `result` is what it returned, None before."""

    def __init__(self, reader: "Reader[Result]") -> None:
        self.result: Result | None = None
        self._reader = reader
        self._kept = bytearray()
        self._passed = 0
        self._wanted: Piece | None = None
        self._ask(None)

    def eat(self, chunk: memoryview) -> None:
        """The next bytes of the stream. Raises Mismatch."""
        start, end = self._passed, self._passed + len(chunk)
        self._passed = end
        while (wanted := self._wanted) is not None:
            here = wanted.offset + len(self._kept)
            if here >= end and len(self._kept) < wanted.length:
                return
            self._kept += chunk[here - start : wanted.offset + wanted.length - start]
            if len(self._kept) < wanted.length:
                return
            self._ask(bytes(self._kept))

    def finish(self) -> Result:
        """The stream has ended. Raises Mismatch."""
        while self._wanted is not None:
            self._ask(bytes(self._kept))
        assert self.result is not None
        return self.result

    def _ask(self, given: bytes | None) -> None:
        """Go on to the next piece that the reader wants."""
        before = self._wanted
        self._wanted = None
        self._kept = bytearray()
        try:
            wanted = self._reader.send(given) if given is not None else next(self._reader)
        except StopIteration as done:
            self.result = done.value
            return
        assert 0 <= wanted.length <= PIECE_MAX_BYTES
        if before is not None and wanted.offset < before.offset + before.length:
            raise Mismatch("its headers are in an order that can't be read from a stream")
        self._wanted = wanted
