"""The ISA-L codec beside pyeclib's, whose payloads it must reproduce."""

import random
import threading

import pytest
from pyeclib.ec_iface import ECDriver

from storage.erasure import isal
from storage.erasure.fragment import HEADER_BYTES
from storage.erasure.registry import make_codec

PYECLIB_HEADER_BYTES = 80


@pytest.mark.parametrize(("k", "m"), [(2, 1), (4, 2), (8, 3), (10, 4), (4, 5), (20, 12)])
@pytest.mark.parametrize("size", [1, 7, 1000, 65_537])
def test_payloads_are_those_of_liberasurecode(k: int, m: int, size: int) -> None:
    segment = random.Random(size).randbytes(size)
    theirs = ECDriver(ec_type="isa_l_rs_cauchy", k=k, m=m).encode(segment)
    ours = make_codec("isa_l_rs_cauchy", k, m).encode(segment)
    assert [f[HEADER_BYTES:] for f in ours] == [f[PYECLIB_HEADER_BYTES:] for f in theirs]


def test_many_patterns_of_loss_keep_the_tables_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isal, "TABLES_MAX", 8)
    codec = isal.IsalCauchyCodec(4, 2, isal.IsalLibrary())
    whole = dict(enumerate(codec.encode(b"some segment")))
    for first in range(6):
        for second in range(6):
            left = {number: data for number, data in whole.items() if number not in (first, second)}
            assert codec.reconstruct(left, [first, second])[second] == whole[second]
            assert len(codec._rebuild_tables) <= 8


def test_a_codec_remembers_nothing_of_the_last_segment() -> None:
    codec = make_codec("isa_l_rs_cauchy", 4, 2)
    for size in (10, 11, 10, 4000):
        fresh = make_codec("isa_l_rs_cauchy", 4, 2)
        assert codec.encode(bytes(size)) == fresh.encode(bytes(size))


def test_one_codec_serves_many_threads() -> None:
    codec = make_codec("isa_l_rs_cauchy", 4, 2)
    segments = [random.Random(seed).randbytes(50_000 + seed) for seed in range(4)]
    wrong: list[int] = []

    def work(seed: int) -> None:
        for turn in range(20):
            segment = segments[(seed + turn) % 4]
            whole = dict(enumerate(codec.encode(segment)))
            del whole[turn % 6], whole[(turn + 1) % 6]
            if codec.decode(whole, len(segment)) != segment:
                wrong.append(turn)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
