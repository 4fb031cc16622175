"""The portable codec: Reed-Solomon by zfec, for builds where ISA-L is not to be had.

zfec's matrix differs from ISA-L's Cauchy matrix: fragments of one can't be read with the other.
The only module that imports zfec.
"""

from collections.abc import Mapping, Sequence

from storage.erasure.contract import CodecUnavailable
from storage.erasure.systematic import SystematicCodec

try:
    import zfec
except ImportError as error:  # pragma: no cover - a build without zfec
    raise CodecUnavailable("zfec: the Python package zfec is not installed") from error


class ZfecCodec(SystematicCodec):
    """The `zfec` codec. Releases the GIL while it computes."""

    name = "zfec"
    quick = False

    def __init__(self, k: int, m: int) -> None:
        super().__init__(k, m)
        self._encoder = zfec.Encoder(k, k + m)
        self._decoder = zfec.Decoder(k, k + m)

    def _parity(self, headers: Sequence[bytes], blocks: Sequence[memoryview]) -> list[bytes]:
        parity = self._encoder.encode(blocks, list(range(self.k, self.k + self.m)))
        return [header + block for header, block in zip(headers, parity, strict=True)]

    def _rebuild(
        self, blocks: Mapping[int, memoryview], wanted: Sequence[int], headers: Sequence[bytes]
    ) -> list[bytes]:
        data = self._decoder.decode(list(blocks.values()), list(blocks))
        rebuilt = self._encoder.encode(data, list(wanted))
        return [header + bytes(block) for header, block in zip(headers, rebuilt, strict=True)]
