"""Frames of the node protocol, version 1: pure encoding and parsing, no I/O (doc/formats/wire.md).

A frame is a 16-byte header, a msgpack head and a raw body. Called by `link.py`; what the heads say
is `messages.py`.
"""

import struct
from typing import Final

import msgspec

HEADER: Final = struct.Struct("<IIIHH")
"""kind (low 8 bits) and head length (24 bits); body length; call id; epoch serial; deadline ticks."""

HEADER_BYTES: Final = HEADER.size

HEAD_MAX_BYTES: Final = 8 * 1024 * 1024
"""The longest head: a page of rows with room to spare."""

BODY_MAX_BYTES: Final = 16 * 1024 * 1024 + 128 * 1024
"""The longest body: the largest row payload, or one garbage entry that holds it."""

ANSWER_BIT: Final = 0x80
"""Set in the kind of an answer; the rest is the kind of its call."""

TICK_S: Final = 0.01
TICKS_MAX: Final = 0xFFFF
"""A deadline is at most 655.35 s away; later ones are cut to that."""

CALL_ID_MAX: Final = 0xFFFF_FFFF
NO_CALL: Final = 0
"""The call id of a message that wants no answer."""

EPOCH_SERIALS: Final = 0x1_0000

Bytes = bytes | bytearray | memoryview


class FrameError(ValueError):
    """The bytes are no frames of this protocol: the connection must be closed."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One parsed frame. ticks: time left until the deadline in units of TICK_S when it was sent.

    body: bytes; on bulk connections, where it is large, a bytearray that nobody else holds.
    """

    kind: int
    call: int
    epoch: int
    ticks: int
    head: bytes
    body: bytes


def encode_prefix(
    kind: int, head: bytes, body_bytes: int, *, call: int, epoch: int, ticks: int
) -> bytes:
    """The header and head of a frame; its body follows. FrameError where a length is over its limit."""
    if len(head) > HEAD_MAX_BYTES or body_bytes > BODY_MAX_BYTES:
        raise FrameError(f"head of {len(head)} or body of {body_bytes} bytes is over the limit")
    return HEADER.pack(kind | len(head) << 8, body_bytes, call, epoch, ticks) + head


def ticks_of(remaining_s: float) -> int:
    """Header ticks of the time left: 0 where there is none, else rounded up, cut to TICKS_MAX."""
    if remaining_s <= 0:
        return 0
    return min(TICKS_MAX, int(remaining_s / TICK_S) + 1)


def newer_epoch(serial: int, than: int) -> bool:
    """Serial number comparison (RFC 1982) of two epochs' low 16 bits."""
    return 0 < (serial - than) % EPOCH_SERIALS < EPOCH_SERIALS // 2


class FrameParser:
    """Cuts a stream into frames, however it was split.

    It holds at most one incomplete frame and the read that it came with. After a FrameError it is
    of no use any more.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._have = 0
        self._need = HEADER_BYTES

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order. Raises FrameError."""
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
        return self._cut(data)

    def _cut(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        at = 0
        end = len(data)
        while end - at >= HEADER_BYTES:
            word, body_bytes, call, epoch, ticks = HEADER.unpack_from(data, at)
            head_bytes = word >> 8
            if head_bytes > HEAD_MAX_BYTES or body_bytes > BODY_MAX_BYTES:
                raise FrameError(f"frame of {head_bytes} + {body_bytes} bytes is over the limit")
            body_at = at + HEADER_BYTES + head_bytes
            after = body_at + body_bytes
            if after > end:
                self._keep(data, at, after - at)
                return frames
            head = data[at + HEADER_BYTES : body_at]
            frames.append(Frame(word & 0xFF, call, epoch, ticks, head, data[body_at:after]))
            at = after
        self._keep(data, at, HEADER_BYTES)
        return frames

    def _keep(self, data: bytes, at: int, need: int) -> None:
        self._need = need
        self._have = len(data) - at
        if self._have:
            self._parts.append(data[at:])

    @property
    def held_bytes(self) -> int:
        """Bytes of an incomplete frame."""
        return self._have if self._parts else 0
