"""QCOW2, as QEMU's docs/interop/qcow2.txt has it. Nothing of it may be in another file."""

import struct
from typing import Final

from compute.image.formats.verdict import Disk, Mismatch
from compute.image.formats.window import Piece, Reader

_V2: Final = struct.Struct(">4sIQIIQ")
_HEADER_BYTES: Final = 112
_KNOWN_FEATURES: Final = 0b11111
"""Dirty, corrupt, data file, compression type, extended L2 entries."""
_DATA_FILE: Final = 0b100
_CLUSTER_BITS: Final = range(9, 22)
_SIZE_MAX: Final = 1 << 63


def qcow2() -> Reader[Disk]:
    """Reads the header."""
    header = yield Piece(0, _HEADER_BYTES)
    if len(header) < 72:
        raise Mismatch("the QCOW2 header is cut off")
    _, version, backing, _, cluster_bits, size = _V2.unpack_from(header)
    if version not in (2, 3):
        raise Mismatch("unsupported QCOW2 version")
    if backing:
        raise Mismatch("the QCOW2 has a backing file")
    if version == 3:
        _check_features(header)
    if cluster_bits not in _CLUSTER_BITS or size >= _SIZE_MAX:
        raise Mismatch("the QCOW2 header makes no sense")
    return Disk(size)


def _check_features(header: bytes) -> None:
    if len(header) < 104:
        raise Mismatch("the QCOW2 header is cut off")
    (features,) = struct.unpack_from(">Q", header, 72)
    if features & _DATA_FILE:
        raise Mismatch("the QCOW2 has a data file")
    if features & ~_KNOWN_FEATURES:
        raise Mismatch("the QCOW2 has unknown incompatible features")
