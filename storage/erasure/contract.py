"""What the proxy core and the repair workers may ask of an erasure codec.

Two codecs keep this contract and one conformance suite: ISA-L (`isal.py`) and zfec (`portable.py`).
All calls are pure computation on the caller's thread; none blocks on anything but the processor.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview


class CodecError(Exception):
    """Base of what erasure coding refuses to do."""


class CodecUnavailable(CodecError):
    """The codec is unknown here, is refused, or its library is not installed; the text says which."""


class FragmentMismatch(CodecError):
    """A fragment is damaged or belongs to another codec, geometry, place or segment.

    number: the place it was given for.
    """

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"fragment {number}: {text}")
        self.number = number


class TooFewFragments(CodecError):
    """Fewer than k fragments: the segment can't be rebuilt from these."""

    def __init__(self, present: int, needed: int) -> None:
        super().__init__(f"{present} fragments present, {needed} needed")
        self.present = present
        self.needed = needed


class FragmentSlice(NamedTuple):
    """Where bytes of a segment lie: fragment number, offset in that fragment, length in bytes."""

    number: int
    offset: int
    length: int


class Codec(Protocol):
    """One systematic code of fixed k and m: fragments 0..k-1 carry the data, k..k+m-1 the parity."""

    name: str
    k: int
    m: int
    quick: bool
    """Coding a segment takes less time than handing it to a thread and back."""

    def fragment_bytes(self, segment_size: int) -> int:
        """Length of each fragment of a segment of `segment_size` bytes, its header included."""

    def data_slices(
        self, segment_size: int, start: int = 0, length: int | None = None
    ) -> list[FragmentSlice]:
        """Where bytes [start, start + length) of the segment lie, in order; length None: to its end.

        So a healthy segment is sent straight from its data fragments, without decoding or copying.
        ValueError for a range outside the segment.
        """

    def check(self, number: int, fragment: Buffer, segment_size: int) -> None:
        """Raise FragmentMismatch unless `fragment` is number `number` of such a segment of this code.

        Looks at the header and the length; the payload's checksum is the business of the blob file.
        """

    def encode(self, segment: Buffer) -> list[bytes]:
        """The k + m fragments of a segment of 1..SEGMENT_SIZE_MAX bytes; ValueError for other sizes."""

    def decode(self, fragments: Mapping[int, Buffer], segment_size: int) -> bytes:
        """The segment, from any k or more of its fragments by number.

        Raises FragmentMismatch for any fragment that does not fit, TooFewFragments for less than k.
        """

    def reconstruct(self, fragments: Mapping[int, Buffer], missing: Sequence[int]) -> dict[int, bytes]:
        """Fragments `missing`, byte for byte as `encode` made them, from any k or more others.

        A degraded GET that rebuilds only the missing data fragments and takes `data_slices` of all
        copies less than `decode` does. Raises as decode does; ValueError for a number outside the code.
        """
