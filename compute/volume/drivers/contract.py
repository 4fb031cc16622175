"""What keeps volumes. Ids are UUIDs that the API chose; offsets, lengths and sizes are in bytes.

Every verb is idempotent: after a crash it is done again, and a half-done one is no obstacle. Deleting
what is not there succeeds. Errors are those of `compute.volume.drivers.errors`, and StoreAway.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple, Protocol

LISTED_MAX: Final = 1000
"""Volumes that a backend lists at once."""


class Extent(NamedTuple):
    """A range of a disk. data: False where it reads as zeroes and takes no room."""

    offset: int
    length: int
    data: bool


class Piece(NamedTuple):
    """A range of an object, which holds the next bytes of something larger."""

    container: str
    name: str
    offset: int
    length: int


class ImageSource(NamedTuple):
    """An image that a volume is made from. size_bytes: of its file.

    pieces: where its file is, in order. open: begins to read its file.
    """

    image_id: str
    disk_format: str
    size_bytes: int
    virtual_size_bytes: int
    pieces: tuple[Piece, ...]
    open: Callable[[], AsyncIterator[bytes]]


class Connection(NamedTuple):
    """How an attached volume is reached: Cinder's connection_info. data: export, and where."""

    driver_volume_type: str
    data: Mapping[str, Any]


class Usage(NamedTuple):
    """Room of a backend; None where there is no bound to tell."""

    total_bytes: int | None
    free_bytes: int | None


class Found(NamedTuple):
    """A volume that a backend has, whatever rows say. snapshots: their names and sizes in bytes."""

    name: str
    size_bytes: int
    snapshots: tuple[tuple[str, int], ...] = ()


class Disk(Protocol):
    """An opened volume or snapshot. Any offset and length within size_bytes, any alignment."""

    @property
    def size_bytes(self) -> int:
        """As it is now: a volume may be extended while it is open."""

    def read_now(self, offset: int, length: int) -> bytes | None:
        """The bytes where they are at hand, without waiting; None where `read` has to get them."""

    async def read(self, offset: int, length: int) -> bytes:
        """The bytes."""

    async def write(self, offset: int, data: bytes | memoryview, *, fua: bool = False) -> None:
        """fua: durable when it returns."""

    async def zero(self, offset: int, length: int, *, fua: bool = False) -> None:
        """Zeroes from now on, without room where that is possible."""

    async def flush(self) -> None:
        """All writes that were answered before are durable when it returns."""

    def extents(self, offset: int, length: int) -> AsyncIterator[Extent]:
        """The range's extents in order, without gaps; neighbours may be of the same kind."""

    async def close(self) -> None:
        """Flush, and let others open it."""


class Driver(Protocol):
    """A backend. A volume has one writer at a time: Busy for a second one."""

    @property
    def name(self) -> str:
        """As `volume_backend_name` of volume types says."""

    async def create(self, volume_id: str, size_bytes: int) -> None:
        """A volume that reads as zeroes."""

    async def create_from_snapshot(self, volume_id: str, snapshot_id: str, size_bytes: int) -> None:
        """A volume with a snapshot's bytes."""

    async def clone(self, volume_id: str, source_id: str, size_bytes: int) -> None:
        """A volume with another one's bytes of now."""

    async def create_from_image(self, volume_id: str, image: ImageSource, size_bytes: int) -> None:
        """A volume with an image's bytes, raw whatever the image's format is."""

    async def adopt(self, volume_id: str, name: str) -> None:
        """Make the backend's volume `name` this one. Raises NoSuchVolume; Busy: it has snapshots."""

    async def found(self) -> Sequence[Found]:
        """All volumes of the backend, up to LISTED_MAX."""

    async def delete(self, volume_id: str) -> None:
        """Raises Busy where it is attached, has snapshots or others stand on it and can't be freed."""

    async def extend(self, volume_id: str, size_bytes: int) -> None:
        """Grow it, attached or not. A size that it has already is no error."""

    async def snapshot(self, snapshot_id: str, volume_id: str) -> None:
        """Keep the volume's bytes of now; what was flushed before is in it."""

    async def delete_snapshot(self, snapshot_id: str, volume_id: str) -> None:
        """Forget a snapshot."""

    async def revert(self, volume_id: str, snapshot_id: str) -> None:
        """Back to its newest snapshot. Raises Busy where it is attached."""

    def open(self, volume_id: str, *, writable: bool) -> AbstractAsyncContextManager[Disk]:
        """Raises Busy, NoSuchVolume."""

    def open_snapshot(self, snapshot_id: str, volume_id: str) -> AbstractAsyncContextManager[Disk]:
        """Read a snapshot."""

    async def changed(
        self, snapshot_id: str, older_snapshot_id: str, volume_id: str
    ) -> Sequence[Extent] | None:
        """What may differ between two snapshots; data False: is zeroes now. None: can't tell."""

    async def attach(self, volume_id: str, attachment_id: str, *, read_only: bool) -> Connection:
        """Export it over NBD, until `detach`."""

    async def detach(self, volume_id: str, attachment_id: str) -> None:
        """End an export."""

    async def exists(self, volume_id: str) -> bool:
        """Whether it is here."""

    async def keeps_image(self, volume_id: str) -> bool:
        """Whether a volume, or what was made of it, stands on an image's own bytes."""

    async def usage(self) -> Usage:
        """The backend's room."""
