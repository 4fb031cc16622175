"""Where a range of an erasure coded blob lies in its fragments, and how it is made from them.

Geometry without I/O; `blob_source.py` reads the fragments.
"""

import asyncio
from collections.abc import Mapping
from functools import partial

from proxy.core.types import Buffer
from storage.erasure.contract import Codec, FragmentSlice
from storage.types import SEGMENT_BYTES


class FragmentRange:
    """A range of a blob, within whole segments first..last.

    at, size_bytes: what of each fragment file those segments are. needed: the data fragments that hold
    the range.
    """

    def __init__(self, codec: Codec, blob_bytes: int, offset: int, length: int) -> None:
        self._codec = codec
        self._blob_bytes = blob_bytes
        self._offset = offset
        self._end = offset + length
        self._stride = codec.fragment_bytes(SEGMENT_BYTES)
        self._segments = range(offset // SEGMENT_BYTES, (self._end - 1) // SEGMENT_BYTES + 1)
        last = self._segments[-1]
        self.at = self._segments[0] * self._stride
        tail = codec.fragment_bytes(self._segment_bytes(last))
        self.size_bytes = (last - self._segments[0]) * self._stride + tail
        self._slices = self._find_slices()
        self.needed = frozenset(piece.number for _, piece in self._slices)

    def _segment_bytes(self, segment: int) -> int:
        return min(SEGMENT_BYTES, self._blob_bytes - segment * SEGMENT_BYTES)

    def _bounds(self, segment: int) -> tuple[int, int]:
        """The part of a segment that is in the range."""
        base = segment * SEGMENT_BYTES
        low = max(self._offset - base, 0)
        return low, min(self._end - base, self._segment_bytes(segment))

    def _find_slices(self) -> list[tuple[int, FragmentSlice]]:
        """Where the range lies: (offset of its segment in the fragments' range, slice), in order."""
        found = []
        for index, segment in enumerate(self._segments):
            low, high = self._bounds(segment)
            for piece in self._codec.data_slices(self._segment_bytes(segment), low, high - low):
                found.append((index * self._stride, piece))
        return found

    def direct(self, fragments: Mapping[int, memoryview]) -> list[memoryview]:
        """The range from all fragments that are `needed`; nothing is copied."""
        return [
            fragments[number][base + start : base + start + count]
            for base, (number, start, count) in self._slices
        ]

    async def rebuilt(self, fragments: Mapping[int, memoryview]) -> list[memoryview]:
        """The range from any k fragments; only missing data fragments are computed."""
        loop = asyncio.get_running_loop()
        out: list[memoryview] = []
        for index, segment in enumerate(self._segments):
            start, count = index * self._stride, self._segment_bytes(segment)
            stop = start + self._codec.fragment_bytes(count)
            pieces = {number: view[start:stop] for number, view in fragments.items()}
            low, high = self._bounds(segment)
            work = partial(_rebuilt, self._codec, pieces, count, low, high - low)
            out += work() if self._codec.quick else await loop.run_in_executor(None, work)
        return out


def _rebuilt(
    codec: Codec, pieces: Mapping[int, Buffer], segment_size: int, start: int, length: int
) -> list[memoryview]:
    slices = codec.data_slices(segment_size, start, length)
    missing = sorted({piece.number for piece in slices if piece.number not in pieces})
    made = codec.reconstruct(pieces, missing) if missing else {}
    whole = {**pieces, **made}
    return [memoryview(whole[n])[at : at + count] for n, at, count in slices]
