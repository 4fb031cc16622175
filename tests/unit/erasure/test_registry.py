"""Codecs by name: what is refused, and what a missing library looks like."""

import ctypes
import subprocess
import sys

import pytest

from storage.erasure.contract import CodecUnavailable
from storage.erasure.registry import CodecRegistry, make_codec


@pytest.mark.parametrize(("k", "m"), [(4, 2), (10, 5)])
def test_the_vandermonde_matrix_is_refused(k: int, m: int) -> None:
    with pytest.raises(CodecUnavailable, match="use isa_l_rs_cauchy"):
        make_codec("isa_l_rs_vand", k, m)


def test_an_unknown_codec_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CodecUnavailable, match="'rot13'; known are isa_l_rs_cauchy, zfec"):
        make_codec("rot13", 4, 2)


@pytest.mark.parametrize("name", ["isa_l_rs_cauchy", "zfec"])
@pytest.mark.parametrize(("k", "m"), [(0, 2), (4, 0), (33, 2), (4, 33), (-1, 2)])
def test_geometries_have_bounds(name: str, k: int, m: int) -> None:
    with pytest.raises(CodecUnavailable, match="must be 1 to 32"):
        make_codec(name, k, m)


def test_the_registry_keeps_what_it_made() -> None:
    registry = CodecRegistry()
    assert registry.codec("zfec", 4, 2) is registry.codec("zfec", 4, 2)
    assert registry.codec("zfec", 4, 2) is not registry.codec("zfec", 2, 1)


def test_without_the_library_the_error_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> ctypes.CDLL:
        raise OSError(f"{path}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(CodecUnavailable, match="no ISA-L library found"):
        make_codec("isa_l_rs_cauchy", 4, 2)


def test_without_zfec_the_other_codec_still_works() -> None:
    script = (
        "import sys; sys.modules['zfec'] = None\n"
        "from storage.erasure.registry import make_codec\n"
        "from storage.erasure.contract import CodecUnavailable\n"
        "make_codec('isa_l_rs_cauchy', 4, 2).encode(b'x')\n"
        "try: make_codec('zfec', 4, 2)\n"
        "except CodecUnavailable as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "zfec: the Python package zfec is not installed\n"
