"""The codec contract, over ISA-L and zfec alike."""

import itertools
import random

import pytest

from storage.erasure import fragment
from storage.erasure.contract import Codec, FragmentMismatch, TooFewFragments
from storage.erasure.fragment import HEADER_BYTES, SEGMENT_SIZE_MAX
from storage.erasure.registry import make_codec

CODECS = ["isa_l_rs_cauchy", "zfec"]
GEOMETRIES = [(2, 1), (4, 2), (8, 3), (10, 4)]
SIZES = [1, 2, 3, 5, 31, 33, 100, 4097, 65_537, 1024 * 1024 - 1, 1024 * 1024]


@pytest.fixture(params=CODECS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def segment_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def fragments_of(codec: Codec, segment: bytes) -> dict[int, bytes]:
    return dict(enumerate(codec.encode(segment)))


def losses(k: int, m: int) -> list[tuple[int, ...]]:
    """Every set of up to m lost fragments, or a fixed sample where there are many."""
    every = [lost for count in range(m + 1) for lost in itertools.combinations(range(k + m), count)]
    return every if len(every) <= 64 else random.Random(k * m).sample(every, 64)


@pytest.mark.parametrize(("k", "m"), GEOMETRIES)
def test_any_m_fragments_may_be_lost(name: str, k: int, m: int) -> None:
    codec = make_codec(name, k, m)
    segment = segment_of(10_007)
    whole = fragments_of(codec, segment)
    for lost in losses(k, m):
        left = {number: data for number, data in whole.items() if number not in lost}
        assert codec.decode(left, len(segment)) == segment
        assert codec.reconstruct(left, lost) == {number: whole[number] for number in lost}


@pytest.mark.parametrize(("k", "m"), GEOMETRIES)
@pytest.mark.parametrize("size", SIZES)
def test_every_size_comes_back(name: str, k: int, m: int, size: int) -> None:
    codec = make_codec(name, k, m)
    segment = segment_of(size)
    whole = fragments_of(codec, segment)
    assert {len(data) for data in whole.values()} == {codec.fragment_bytes(size)}
    worst = {number: whole[number] for number in range(m, k + m)}
    assert codec.decode(worst, size) == segment
    assert codec.reconstruct(worst, range(m)) == {number: whole[number] for number in range(m)}


@pytest.mark.parametrize("size", SIZES)
def test_a_healthy_segment_is_read_from_slices(name: str, size: int) -> None:
    codec = make_codec(name, 4, 2)
    segment = segment_of(size)
    whole = fragments_of(codec, segment)
    choice = random.Random(size)
    for _ in range(20):
        start = choice.randrange(size)
        length = choice.randrange(size - start + 1)
        slices = codec.data_slices(size, start, length)
        got = b"".join(whole[number][offset : offset + n] for number, offset, n in slices)
        assert got == segment[start : start + length]
    assert sum(part.length for part in codec.data_slices(size)) == size


def test_fragments_may_be_any_buffers_in_any_order(name: str) -> None:
    codec = make_codec(name, 4, 2)
    segment = segment_of(5000)
    shuffled: dict[int, bytes | bytearray | memoryview] = {}
    for number, data in reversed(fragments_of(codec, segment).items()):
        padded = b"xyz" + data
        shuffled[number] = bytearray(data) if number % 2 else memoryview(padded)[3:]
    del shuffled[0], shuffled[3]
    assert codec.decode(shuffled, 5000) == segment
    assert codec.encode(bytearray(segment)) == codec.encode(memoryview(b"-" + segment)[1:])


@pytest.mark.parametrize("size", [0, SEGMENT_SIZE_MAX + 1])
def test_a_segment_has_bounds(name: str, size: int) -> None:
    codec = make_codec(name, 4, 2)
    with pytest.raises(ValueError, match="a segment has 1 to"):
        codec.encode(bytes(size))
    with pytest.raises(ValueError, match="a segment has 1 to"):
        codec.fragment_bytes(size)


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, 101), (100, 1), (5, -1)])
def test_slices_outside_the_segment_are_refused(name: str, start: int, length: int) -> None:
    with pytest.raises(ValueError, match="outside a segment"):
        make_codec(name, 4, 2).data_slices(100, start, length)


def test_too_few_fragments_are_refused(name: str) -> None:
    codec = make_codec(name, 4, 2)
    three = dict(itertools.islice(fragments_of(codec, b"segment").items(), 3))
    for refused in (three, {}):
        with pytest.raises(TooFewFragments):
            codec.decode(refused, 7)
        with pytest.raises(TooFewFragments):
            codec.reconstruct(refused, [5])


@pytest.mark.parametrize("missing", [-1, 6])
def test_places_outside_the_code_are_refused(name: str, missing: int) -> None:
    codec = make_codec(name, 4, 2)
    whole = fragments_of(codec, b"segment")
    with pytest.raises(ValueError, match="has no fragments"):
        codec.reconstruct(whole, [missing])
    with pytest.raises(FragmentMismatch, match="no such place"):
        codec.decode(whole | {missing: whole[0]}, 7)


@pytest.mark.parametrize(
    ("other", "size", "why"),
    [
        ((4, 3), 100, "m 3 instead of 2"),
        ((5, 2), 100, "k 5 instead of 4"),
        ((4, 2), 101, "segment_size 101 instead of 100"),
    ],
)
def test_fragments_of_another_geometry_are_refused(
    name: str, other: tuple[int, int], size: int, why: str
) -> None:
    codec = make_codec(name, 4, 2)
    whole: dict[int, bytes] = fragments_of(codec, bytes(100))
    whole[1] = make_codec(name, *other).encode(bytes(size))[1]
    for call in (lambda: codec.decode(whole, 100), lambda: codec.reconstruct(whole, [5])):
        with pytest.raises(FragmentMismatch, match=why) as caught:
            call()
        assert caught.value.number == 1


def test_fragments_of_another_codec_are_refused(name: str) -> None:
    (other,) = set(CODECS) - {name}
    foreign = fragments_of(make_codec(other, 4, 2), b"segment")
    with pytest.raises(FragmentMismatch, match=f"codec {other} instead of {name}"):
        make_codec(name, 4, 2).decode(foreign, 7)
    with pytest.raises(FragmentMismatch, match=f"codec {other} instead of {name}"):
        make_codec(name, 4, 2).check(0, foreign[0], 7)


def test_a_fragment_in_the_wrong_place_is_refused(name: str) -> None:
    codec = make_codec(name, 4, 2)
    whole = fragments_of(codec, b"segment")
    whole[0], whole[1] = whole[1], whole[0]
    with pytest.raises(FragmentMismatch, match="number 1 instead of 0"):
        codec.decode(whole, 7)


@pytest.mark.parametrize("cut", [0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, 100, 102])
def test_a_fragment_of_the_wrong_length_is_refused(name: str, cut: int) -> None:
    codec = make_codec(name, 4, 2)
    whole = fragments_of(codec, bytes(276))
    assert codec.fragment_bytes(276) == 101
    whole[2] = (whole[2] + b"\0")[:cut]
    for call in (lambda: codec.decode(whole, 276), lambda: codec.reconstruct(whole, [5])):
        with pytest.raises(FragmentMismatch):
            call()


def test_a_flipped_bit_in_a_header_is_refused(name: str) -> None:
    codec = make_codec(name, 4, 2)
    whole = fragments_of(codec, bytes(276))
    for bit in range(HEADER_BYTES * 8):
        torn = bytearray(whole[3])
        torn[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FragmentMismatch):
            codec.check(3, torn, 276)
        with pytest.raises(FragmentMismatch):
            fragment.parse(3, torn)
