"""Bytes that lie over others: the newest writes of one extent, as pieces that do not overlap."""

from bisect import bisect_left, bisect_right
from typing import NamedTuple


class Piece(NamedTuple):
    """A piece from `start` to `end`. data: None for zeroes."""

    start: int
    end: int
    data: memoryview | None


class Overlay:
    """Pieces in order, within one extent; offsets from the extent's start."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: list[Piece] = []
        self.held_bytes = 0
        """What the data take in memory."""

    def __bool__(self) -> bool:
        return bool(self._pieces)

    @property
    def end(self) -> int:
        """Where the last piece ends."""
        return self._pieces[-1].end if self._pieces else 0

    def put(self, start: int, length: int, data: bytes | memoryview | None) -> None:
        """Lay bytes (zeroes for None) over what is there."""
        end = start + length
        first = bisect_right(self._starts, start) - 1
        if first < 0 or self._pieces[first].end <= start:
            first += 1
        last = bisect_left(self._starts, end)
        new = [Piece(start, end, memoryview(data) if data is not None else None)]
        if first < last:
            new = [*_left(self._pieces[first], start), *new, *_right(self._pieces[last - 1], end)]
        self.held_bytes += _bytes(new) - _bytes(self._pieces[first:last])
        self._pieces[first:last] = new
        self._starts[first:last] = [piece.start for piece in new]

    def pieces(self) -> list[Piece]:
        """All, in order."""
        return list(self._pieces)

    def within(self, start: int, end: int) -> list[Piece]:
        """The pieces of a range, cut to it."""
        first = max(bisect_right(self._starts, start) - 1, 0)
        last = bisect_left(self._starts, end)
        found = []
        for piece in self._pieces[first:last]:
            low, high = max(piece.start, start), min(piece.end, end)
            if low < high:
                data = piece.data
                cut = None if data is None else data[low - piece.start : high - piece.start]
                found.append(Piece(low, high, cut))
        return found

    def covers(self, start: int, end: int) -> bool:
        """Whether nothing below is seen in this range."""
        at = start
        for piece in self.within(start, end):
            if piece.start > at:
                return False
            at = piece.end
        return at >= end

    def lay_on(self, below: bytearray, start: int) -> None:
        """Write the pieces over `below`, whose first byte is at `start`."""
        for piece in self.within(start, start + len(below)):
            low, high = piece.start - start, piece.end - start
            below[low:high] = bytes(high - low) if piece.data is None else piece.data


def _left(piece: Piece, start: int) -> list[Piece]:
    """What is left of a piece before `start`."""
    if piece.start >= start:
        return []
    data = piece.data
    return [Piece(piece.start, start, None if data is None else data[: start - piece.start])]


def _right(piece: Piece, end: int) -> list[Piece]:
    """What is left of a piece from `end` on."""
    if piece.end <= end:
        return []
    data = piece.data
    return [Piece(end, piece.end, None if data is None else data[end - piece.start :])]


def _bytes(pieces: list[Piece]) -> int:
    return sum(len(piece.data) for piece in pieces if piece.data is not None)
