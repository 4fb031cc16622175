"""The bytes that the generator stores, and what they must be when they come back.

Every object's content is a sequence of 1 MiB windows into a 2 MiB block of pseudo-random bytes; the
window's place depends on the object and on the position in it. So nothing is copied or made while
the clock runs, the working set stays in the processor's cache, and an object that comes back with
another's bytes, or with its own in the wrong order, does not match.
"""

import hashlib
from collections.abc import Iterator

import xxhash

WINDOW_BYTES = 1 << 20
_OBJECT_STRIDE = 104_729  # odd, so that it walks through all places of a power of two
_WINDOW_STRIDE = 15_485_863


class Payloads:
    """The contents of all objects of a run; the same for the same seed."""

    def __init__(self, seed: int = 1) -> None:
        block = hashlib.shake_128(seed.to_bytes(8, "big")).digest(2 * WINDOW_BYTES)
        self._block = memoryview(block)

    def windows(self, index: int, size_bytes: int, first_window: int = 0) -> Iterator[memoryview]:
        """The content of object `index` from its window `first_window` on, `size_bytes` in all."""
        position = first_window
        left = size_bytes
        while left > 0:
            start = (index * _OBJECT_STRIDE + position * _WINDOW_STRIDE) % WINDOW_BYTES
            window = self._block[start : start + min(left, WINDOW_BYTES)]
            yield window
            left -= len(window)
            position += 1

    def whole(self, index: int, size_bytes: int) -> memoryview:
        """The content of an object of at most one window."""
        if size_bytes > WINDOW_BYTES:
            raise ValueError("an object of several windows has no contiguous content")
        start = index * _OBJECT_STRIDE % WINDOW_BYTES
        return self._block[start : start + size_bytes]

    def checksum(self, index: int, size_bytes: int, first_window: int = 0) -> int:
        """XXH3 (64 bits) of the same content."""
        state = xxhash.xxh3_64()
        for window in self.windows(index, size_bytes, first_window):
            state.update(window)
        return int(state.intdigest())
