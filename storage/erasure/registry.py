"""Finds a codec by the name that policies, blob headers and fragments use.

Libraries are loaded when the first codec that needs them is asked for, so a build without one of them
serves everything that is not coded with it.
"""

from storage.erasure.contract import Codec, CodecUnavailable
from storage.erasure.fragment import CODEC_IDS


class CodecRegistry:
    """Makes codecs and keeps them; one per process."""

    def __init__(self) -> None:
        self._codecs: dict[tuple[str, int, int], Codec] = {}

    def codec(self, name: str, k: int, m: int) -> Codec:
        """The codec `name` of k + m. Raises CodecUnavailable: unknown, refused, or not installed."""
        found = self._codecs.get((name, k, m))
        if found is None:
            found = self._codecs[name, k, m] = make_codec(name, k, m)
        return found


def make_codec(name: str, k: int, m: int) -> Codec:
    """A new codec. Raises CodecUnavailable."""
    if name == "isa_l_rs_cauchy":
        from storage.erasure.isal import IsalCauchyCodec, IsalLibrary

        return IsalCauchyCodec(k, m, IsalLibrary())
    if name == "zfec":
        from storage.erasure.portable import ZfecCodec

        return ZfecCodec(k, m)
    if name == "isa_l_rs_vand":
        raise CodecUnavailable(
            "isa_l_rs_vand is refused: it may rebuild wrong bytes; use isa_l_rs_cauchy"
        )
    raise CodecUnavailable(f"unknown erasure codec {name!r}; known are {', '.join(CODEC_IDS)}")
