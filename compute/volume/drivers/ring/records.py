"""What the ring driver's small objects say: slots of a journal, heads of volumes, layers.

MessagePack by msgspec, with a version in front. Offsets and sizes are in bytes.
"""

from typing import Final, TypeVar

import msgspec

from compute.volume.drivers.contract import Piece

VERSION: Final = 1

T = TypeVar("T")


class Write(msgspec.Struct, frozen=True, array_like=True, tag="w"):
    """Bytes at an offset of the volume."""

    offset: int
    data: bytes


class Zero(msgspec.Struct, frozen=True, array_like=True, tag="z"):
    """Zeroes at an offset of the volume."""

    offset: int
    length: int


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """A snapshot is a layer that is written no more, and the size that the volume had."""

    layer: str
    size_bytes: int


class Head(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """What a volume is. top: the layer that is written. snapshots: by their ids, oldest first."""

    size_bytes: int
    top: str
    snapshots: dict[str, Snapshot] = {}


class Begin(msgspec.Struct, frozen=True, array_like=True, tag="b"):
    """The first slot of an epoch."""


class Seal(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """The last slot of an epoch: its writer is fenced off. What follows it counts nothing."""


Record = Write | Zero | Head | Begin | Seal


class Slot(msgspec.Struct, frozen=True, array_like=True):
    """One object of a journal. writer: unique, so that two writers never put the same bytes."""

    version: int
    writer: str
    records: list[Record]


class About(msgspec.Struct, frozen=True, array_like=True):
    """What a layer stands on: another layer, or pieces of an image, or nothing (zeroes).

    parent_bytes: as much of the parent is seen; zeroes are beyond, even where the parent grew.
    """

    version: int
    parent: str
    parent_bytes: int
    pieces: list[tuple[str, str, int, int]]

    @property
    def base(self) -> tuple[Piece, ...]:
        """The image's pieces in order."""
        return tuple(Piece(*piece) for piece in self.pieces)


_SLOTS: Final = msgspec.msgpack.Decoder(Slot)
_HEADS: Final = msgspec.msgpack.Decoder(Head)
_ABOUTS: Final = msgspec.msgpack.Decoder(About)


class Unreadable(Exception):
    """An object of a volume is not what it should be, or of a later version."""


def encoded(what: Slot | Head | About) -> bytes:
    """The object's bytes."""
    return msgspec.msgpack.encode(what)


def slot_of(raw: bytes) -> Slot:
    """Raises Unreadable."""
    slot = _decoded(_SLOTS, raw)
    return _checked(slot, slot.version)


def head_of(raw: bytes) -> Head:
    """Raises Unreadable."""
    return _decoded(_HEADS, raw)


def about_of(raw: bytes) -> About:
    """Raises Unreadable."""
    about = _decoded(_ABOUTS, raw)
    return _checked(about, about.version)


def _decoded(decoder: msgspec.msgpack.Decoder[T], raw: bytes) -> T:
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise Unreadable(str(error)) from error


def _checked(what: T, version: int) -> T:
    if version != VERSION:
        raise Unreadable(f"version {version} is not known here")
    return what
