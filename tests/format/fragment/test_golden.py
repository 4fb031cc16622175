"""Fragments of every format version, kept for ever: they are made and read as they were."""

from pathlib import Path

import pytest
import xxhash

from storage.erasure import fragment
from storage.erasure.contract import FragmentMismatch
from storage.erasure.registry import make_codec

GOLDEN = Path(__file__).parent / "golden"
SEGMENT = bytes(range(256)) * 4 + b"a short tail"
CASES = [(name, k, m) for name in ("isa_l_rs_cauchy", "zfec") for k, m in ((4, 2), (10, 4))]


def golden(name: str, k: int, m: int) -> list[bytes]:
    """The fragments, one behind the other in one file."""
    data = (GOLDEN / f"v1-{name}-{k}-{m}.fragments").read_bytes()
    size = len(data) // (k + m)
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize(("name", "k", "m"), CASES)
def test_version_1_is_made_as_it_was(name: str, k: int, m: int) -> None:
    assert make_codec(name, k, m).encode(SEGMENT) == golden(name, k, m)


@pytest.mark.parametrize(("name", "k", "m"), CASES)
def test_version_1_is_read_as_it_was(name: str, k: int, m: int) -> None:
    parity_first = dict(list(enumerate(golden(name, k, m)))[m:])
    assert make_codec(name, k, m).decode(parity_first, len(SEGMENT)) == SEGMENT


def test_the_documented_header_is_the_real_one() -> None:
    header = golden("isa_l_rs_cauchy", 4, 2)[5][: fragment.HEADER_BYTES]
    fields = b"AtFr" + bytes([1, 1, 4, 2, 5, 0, 0, 0]) + (1036).to_bytes(4, "big") + bytes(8)
    assert header == fields + xxhash.xxh3_64_digest(fields)
    assert fragment.parse(5, header) == ("isa_l_rs_cauchy", 4, 2, 5, len(SEGMENT))


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [(4, 2, "format version 2"), (5, 9, "unknown codec number 9"), (12, 0x80, "out of bounds")],
)
def test_what_a_later_build_may_write_is_refused_by_name(place: int, value: int, why: str) -> None:
    header = bytearray(golden("zfec", 4, 2)[0][:24])
    header[place] = value
    sealed = bytes(header) + xxhash.xxh3_64_digest(bytes(header))
    with pytest.raises(FragmentMismatch, match=why):
        fragment.parse(0, sealed)
