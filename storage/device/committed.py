"""The table of committed blobs in the device's index."""

import struct
from typing import Final

import msgspec

from storage.device.index_contract import Index, Table
from storage.device.overlay import Overlay
from storage.device.record import Kind, Record
from storage.device.usage import SegmentUsage
from storage.types import BlobEntry, BlobName

NAME: Final = struct.Struct(">16sI")
PLACE: Final = struct.Struct("<II")
"""the BLOB record's segment and payload offset; then the msgpack BlobEntry"""

BLOB_COST_BYTES: Final = 256
"""What a BLOB record counts for in its segment."""

_decode: Final = msgspec.msgpack.Decoder(BlobEntry).decode


def name_key(name: BlobName) -> bytes:
    """Index key of a blob: orders by (id, number)."""
    return NAME.pack(name.id, name.number)


def name_key_of(entry: bytes) -> bytes:
    """Index key of the blob in a BLOB record's head."""
    return name_key(_decode(entry).header.name)


def encode_entry(entry: BlobEntry) -> bytes:
    """Head of a BLOB record."""
    return msgspec.msgpack.encode(entry)


class CommittedBlobs:
    """Committed blobs by name."""

    def __init__(self, index: Index, usage: SegmentUsage) -> None:
        self.overlay = Overlay(Table.BLOBS, index)
        self._usage = usage
        self._leaving: set[bytes] = set()

    def put(self, head: bytes, key: bytes, segment: int, offset: int) -> None:
        """A BLOB record, its head `head`, is durable."""
        self._release(key)
        self._usage.add(segment, BLOB_COST_BYTES)
        self.overlay.put(key, PLACE.pack(segment, offset) + head)

    def leave(self, key: bytes) -> None:
        """A BLOB_REMOVED record is on its way."""
        self._leaving.add(key)

    def stay(self, key: bytes) -> None:
        """It was not written."""
        self._leaving.discard(key)

    def remove(self, key: bytes) -> None:
        """A BLOB_REMOVED record is durable."""
        self._leaving.discard(key)
        if self._release(key):
            self.overlay.put(key, None)

    def move(self, key: bytes, old: tuple[int, int], new: tuple[int, int]) -> None:
        """A copy of a BLOB record is durable: it takes the old one's place if that still counts."""
        value = self.overlay.get(key)
        if value is not None and PLACE.unpack_from(value) == old:
            self.put(value[PLACE.size :], key, *new)

    def _release(self, key: bytes) -> bool:
        value = self.overlay.get(key)
        if value is None:
            return False
        segment, _ = PLACE.unpack_from(value)
        self._usage.add(segment, -BLOB_COST_BYTES)
        return True

    def place(self, key: bytes) -> tuple[int, int] | None:
        """Where the record of a blob lies that is there to stay.

        Of one that is on its way out a copy must not be made: it would come after the removal, and
        the next start would bring the blob back.
        """
        value = None if key in self._leaving else self.overlay.get(key)
        return None if value is None else PLACE.unpack_from(value)

    def get(self, name: BlobName) -> BlobEntry | None:
        """A committed entry."""
        value = self.overlay.get(name_key(name))
        return None if value is None else _decode(value[PLACE.size :])

    def after(self, name: BlobName | None, limit: int) -> list[BlobEntry]:
        """At most `limit` entries behind `name`, in order."""
        start = b"" if name is None else name_key(name) + b"\0"
        return [_decode(value[PLACE.size :]) for _, value in self.overlay.first(start, limit)]

    def replay(self, segment: int, record: Record) -> None:
        """Apply a BLOB or BLOB_REMOVED record."""
        if record.kind == Kind.BLOB:
            self.put(record.head, name_key_of(record.head), segment, record.payload_offset)
        else:
            self.remove(record.head)
