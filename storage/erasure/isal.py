"""The default codec: Reed-Solomon over a Cauchy matrix by Intel's ISA-L.

Payloads are those of liberasurecode's `isa_l_rs_cauchy` (pyeclib), whose wheel brings the library;
where the wheel has none, the system's libisal is taken. The library is called directly and not through
pyeclib: that costs 100 instead of 300 us per MiB of 4+2 with our header, lets other threads run
meanwhile, and liberasurecode ends the process by an assertion when it is handed a bad fragment.
`isa_l_rs_vand` is deliberately absent: with m > 4 it reconstructs wrongly without saying so.

Interface: erasure_code.h and gf_vect_mul.h of ISA-L 2.x (https://github.com/intel/isa-l).
"""

import ctypes
import functools
import glob
import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from storage.erasure.contract import Buffer, CodecUnavailable
from storage.erasure.fragment import HEADER_BYTES
from storage.erasure.systematic import SystematicCodec

NAME: Final = "isa_l_rs_cauchy"

TABLES_MAX: Final = 512
"""How many patterns of lost fragments a codec keeps tables for."""

SYSTEM_LIBRARY: Final = "libisal.so.2"

_TABLE_BYTES: Final = 32
"""Bytes of multiplication tables that ec_init_tables writes per matrix element."""


class IsalLibrary:
    """The functions of libisal, loaded. Raises CodecUnavailable where there is none."""

    def __init__(self) -> None:
        library = _load()
        self._cauchy = _function(library, "gf_gen_cauchy1_matrix", "pii", None)
        self._invert = _function(library, "gf_invert_matrix", "ppi", ctypes.c_int)
        self._multiply = _function(library, "gf_mul", "bb", ctypes.c_ubyte)
        self._init_tables = _function(library, "ec_init_tables", "iipp", None)
        self.encode_data = _function(library, "ec_encode_data", "iiippp", None)

    def generator(self, k: int, m: int) -> list[bytes]:
        """The (k + m) x k generator matrix by rows: identity, then 1 / (row xor column) in GF(2^8)."""
        matrix = ctypes.create_string_buffer(k * (k + m))
        self._cauchy(matrix, k + m, k)
        return [matrix.raw[row * k : (row + 1) * k] for row in range(k + m)]

    def invert(self, rows: Sequence[bytes]) -> list[bytes]:
        """The inverse of a k x k matrix over GF(2^8); every k rows of a Cauchy generator have one."""
        k = len(rows)
        source = ctypes.create_string_buffer(b"".join(rows), k * k)  # the library destroys it
        inverse = ctypes.create_string_buffer(k * k)
        if self._invert(source, inverse, k) != 0:
            raise ArithmeticError("singular matrix")
        return [inverse.raw[row * k : (row + 1) * k] for row in range(k)]

    def times(self, row: bytes, matrix: Sequence[bytes]) -> bytes:
        """The row vector times the matrix, over GF(2^8)."""
        product = bytearray(len(row))
        for factor, matrix_row in zip(row, matrix, strict=True):
            for column, value in enumerate(matrix_row):
                product[column] ^= self._multiply(factor, value)
        return bytes(product)

    def tables(self, rows: Sequence[bytes]) -> "ctypes.Array[ctypes.c_char]":
        """Multiplication tables of some rows, as ec_encode_data wants them."""
        k = len(rows[0])
        tables = ctypes.create_string_buffer(_TABLE_BYTES * k * len(rows))
        self._init_tables(k, len(rows), b"".join(rows), tables)
        return tables


class IsalCauchyCodec(SystematicCodec):
    """The `isa_l_rs_cauchy` codec. Releases the GIL while it computes; safe to share by threads."""

    name = NAME
    quick = True

    def __init__(self, k: int, m: int, library: IsalLibrary) -> None:
        super().__init__(k, m)
        self._library = library
        self._generator = library.generator(k, m)
        self._parity_tables = library.tables(self._generator[k:])
        self._rebuild_tables: dict[tuple[tuple[int, ...], tuple[int, ...]], ctypes.Array[ctypes.c_char]]
        self._rebuild_tables = {}

    def _parity(self, headers: Sequence[bytes], blocks: Sequence[memoryview]) -> list[bytes]:
        return self._compute(self._parity_tables, blocks, headers)

    def _rebuild(
        self, blocks: Mapping[int, memoryview], wanted: Sequence[int], headers: Sequence[bytes]
    ) -> list[bytes]:
        tables = self._tables_for(tuple(blocks), tuple(wanted))
        return self._compute(tables, list(blocks.values()), headers)

    def _tables_for(
        self, present: tuple[int, ...], wanted: tuple[int, ...]
    ) -> "ctypes.Array[ctypes.c_char]":
        tables = self._rebuild_tables.get((present, wanted))
        if tables is None:
            inverse = self._library.invert([self._generator[number] for number in present])
            rows = [self._library.times(self._generator[number], inverse) for number in wanted]
            tables = self._library.tables(rows)
            if len(self._rebuild_tables) >= TABLES_MAX:
                self._rebuild_tables.clear()
            self._rebuild_tables[present, wanted] = tables
        return tables

    def _compute(
        self,
        tables: "ctypes.Array[ctypes.c_char]",
        blocks: Sequence[memoryview],
        headers: Sequence[bytes],
    ) -> list[bytes]:
        """One fragment per header: the header, then its row of the tables times the k blocks."""
        size = len(blocks[0])
        outputs = [_fresh_bytes(HEADER_BYTES + size) for _ in headers]
        targets = [_address(output) for output in outputs]
        for target, header in zip(targets, headers, strict=True):
            ctypes.memmove(target, header, HEADER_BYTES)
        self._library.encode_data(
            size,
            len(blocks),
            len(outputs),
            tables,
            _pointers([_address(block) for block in blocks]),
            _pointers([target + HEADER_BYTES for target in targets]),
        )
        return outputs


_KINDS: Final[dict[str, "type[ctypes._SimpleCData[Any]]"]] = {
    "i": ctypes.c_int,
    "p": ctypes.c_void_p,
    "b": ctypes.c_ubyte,
}


def _function(
    library: ctypes.CDLL, name: str, arguments: str, result: type | None
) -> "ctypes._NamedFuncPointer":
    function: ctypes._NamedFuncPointer = getattr(library, name)
    function.argtypes = [_KINDS[kind] for kind in arguments]
    function.restype = result
    return function


def _load() -> ctypes.CDLL:
    for path in [*_bundled_libraries(), SYSTEM_LIBRARY]:
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue  # not this one; none at all is the error below
    raise CodecUnavailable(
        f"{NAME}: no ISA-L library found, neither in pyeclib's wheel nor {SYSTEM_LIBRARY} on the system"
    )


def _bundled_libraries() -> list[str]:
    """The libisal that pyeclib's wheel carries, found without importing pyeclib."""
    spec = importlib.util.find_spec("pyeclib")
    if spec is None or spec.origin is None:
        return []
    site = os.path.dirname(os.path.dirname(spec.origin))
    return sorted(glob.glob(os.path.join(glob.escape(site), "pyeclib.libs", "libisal*.so*")))


def _pointers(addresses: Sequence[int]) -> "ctypes.Array[ctypes.c_void_p]":
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _address(buffer: Buffer) -> int:
    """Where a buffer's bytes lie; the caller keeps the buffer alive."""
    address: int = np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]
    return address


def _fresh_bytes(size: int) -> bytes:
    """A bytes object with undefined content, to be filled before anyone else sees it.

    The C API allows this for PyBytes_FromStringAndSize(NULL, size); it saves zeroing a buffer and
    copying it again into an immutable one.
    """
    fresh: bytes = _allocator()(None, size)
    return fresh


@functools.cache
def _allocator() -> "ctypes._NamedFuncPointer":
    # By subscript: a function object of our own, whose argument types nobody else sets.
    allocate = ctypes.pythonapi["PyBytes_FromStringAndSize"]
    allocate.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]
    allocate.restype = ctypes.py_object
    return allocate
