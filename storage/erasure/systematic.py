"""What our codecs share: cutting a segment, fragment headers, and the checks before the arithmetic.

A codec adds two functions on equally long blocks: parity of k data blocks, and the rebuilding of any
blocks from any k. Registry and callers use the codecs (`isal.py`, `portable.py`), not this.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from storage.erasure import fragment as format_v1
from storage.erasure.contract import (
    Buffer,
    CodecUnavailable,
    FragmentMismatch,
    FragmentSlice,
    TooFewFragments,
)
from storage.erasure.fragment import FRAGMENTS_MAX, HEADER_BYTES, FragmentHeader


class SystematicCodec(ABC):
    """A codec of k + m whose data fragments carry the segment's bytes as they are."""

    name: str
    quick: bool

    def __init__(self, k: int, m: int) -> None:
        if not (1 <= k <= FRAGMENTS_MAX and 1 <= m <= FRAGMENTS_MAX):
            raise CodecUnavailable(f"{self.name} {k}+{m}: k and m must be 1 to {FRAGMENTS_MAX}")
        self.k = k
        self.m = m
        self._headers: tuple[int, list[bytes]] = (0, [])

    @abstractmethod
    def _parity(self, headers: Sequence[bytes], blocks: Sequence[memoryview]) -> list[bytes]:
        """The m parity fragments: each of `headers` with its parity of the k data blocks behind it."""

    @abstractmethod
    def _rebuild(
        self, blocks: Mapping[int, memoryview], wanted: Sequence[int], headers: Sequence[bytes]
    ) -> list[bytes]:
        """Fragments `wanted` from exactly k blocks by number, each behind its one of `headers`."""

    def fragment_bytes(self, segment_size: int) -> int:
        format_v1.check_segment_size(segment_size)
        return HEADER_BYTES + format_v1.payload_bytes(segment_size, self.k)

    def data_slices(
        self, segment_size: int, start: int = 0, length: int | None = None
    ) -> list[FragmentSlice]:
        format_v1.check_segment_size(segment_size)
        wanted = segment_size - start if length is None else length
        return format_v1.data_slices(segment_size, self.k, start, wanted)

    def check(self, number: int, fragment: Buffer, segment_size: int) -> None:
        expected = self.fragment_bytes(segment_size)
        if fragment[:HEADER_BYTES] != self._header(number, segment_size):
            raise self._mismatch(number, fragment, segment_size)
        if len(fragment) != expected:
            raise FragmentMismatch(number, f"{len(fragment)} bytes long instead of {expected}")

    def encode(self, segment: Buffer) -> list[bytes]:
        view = memoryview(segment).cast("B")
        format_v1.check_segment_size(len(view))
        headers = self._segment_headers(len(view))
        data = self._data_fragments(view, headers)
        blocks = [memoryview(fragment)[HEADER_BYTES:] for fragment in data]
        return data + self._parity(headers[self.k :], blocks)

    def decode(self, fragments: Mapping[int, Buffer], segment_size: int) -> bytes:
        self._check_all(fragments, segment_size)
        missing = [number for number in range(self.k) if number not in fragments]
        whole = dict(fragments) | self._reconstruct(fragments, missing, segment_size)
        return b"".join(
            memoryview(whole[number])[offset : offset + length]
            for number, offset, length in self.data_slices(segment_size)
        )

    def reconstruct(self, fragments: Mapping[int, Buffer], missing: Sequence[int]) -> dict[int, bytes]:
        if not fragments:
            raise TooFewFragments(0, self.k)
        outside = [number for number in missing if not 0 <= number < self.k + self.m]
        if outside:
            raise ValueError(f"{self.k}+{self.m} has no fragments {outside}")
        number, first = next(iter(fragments.items()))
        segment_size = format_v1.parse(number, first).segment_size
        self._check_all(fragments, segment_size)
        return self._reconstruct(fragments, missing, segment_size)

    def _data_fragments(self, segment: memoryview, headers: Sequence[bytes]) -> list[bytes]:
        size = format_v1.payload_bytes(len(segment), self.k)
        pieces = [segment[number * size : (number + 1) * size] for number in range(self.k)]
        return [
            b"".join((headers[number], piece, bytes(size - len(piece))))
            for number, piece in enumerate(pieces)
        ]

    def _check_all(self, fragments: Mapping[int, Buffer], segment_size: int) -> None:
        for number, fragment in fragments.items():
            self.check(number, fragment, segment_size)
        if len(fragments) < self.k:
            raise TooFewFragments(len(fragments), self.k)

    def _reconstruct(
        self, fragments: Mapping[int, Buffer], missing: Sequence[int], segment_size: int
    ) -> dict[int, bytes]:
        if not missing:
            return {}
        # Data first: what is left of the smallest numbers needs the least arithmetic.
        chosen = sorted(fragments)[: self.k]
        blocks = {number: memoryview(fragments[number])[HEADER_BYTES:] for number in chosen}
        headers = [self._header(number, segment_size) for number in missing]
        return dict(zip(missing, self._rebuild(blocks, missing, headers), strict=True))

    def _header(self, number: int, segment_size: int) -> bytes:
        if not 0 <= number < self.k + self.m:
            raise FragmentMismatch(number, f"{self.k}+{self.m} has no such place")
        return self._segment_headers(segment_size)[number]

    def _segment_headers(self, segment_size: int) -> list[bytes]:
        # All segments of an object but the last have one size: remember the last one's headers.
        known_size, headers = self._headers
        if known_size != segment_size:
            headers = [
                FragmentHeader(self.name, self.k, self.m, number, segment_size).pack()
                for number in range(self.k + self.m)
            ]
            self._headers = (segment_size, headers)
        return headers

    def _mismatch(self, number: int, fragment: Buffer, segment_size: int) -> FragmentMismatch:
        found = format_v1.parse(number, fragment)
        expected = FragmentHeader(self.name, self.k, self.m, number, segment_size)
        differences = [
            f"{field} {getattr(found, field)} instead of {getattr(expected, field)}"
            for field in FragmentHeader._fields
            if getattr(found, field) != getattr(expected, field)
        ]
        return FragmentMismatch(number, ", ".join(differences) or "header differs in reserved bytes")
