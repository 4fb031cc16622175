"""What the proxy core may ask of one device, wherever it is.

Three implementations keep this contract and one conformance suite: the engine in this process
(`storage/device/engine.py`), a device behind the node protocol (`storage/wire/client.py`) and the
in-memory twin (`storage/memory.py`).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from storage.types import (
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    Fault,
    GarbageEntry,
    RowAnswer,
    RowMessage,
)

Buffer = bytes | bytearray | memoryview

Deliver = Callable[[RowAnswer, bytes], None]
"""Takes a row answer and its payload (empty where it has none)."""


class DeviceFault(Exception):
    """A blob call could not be carried out."""

    def __init__(self, fault: Fault, text: str = "") -> None:
        super().__init__(f"{fault.name.lower()}: {text}" if text else fault.name.lower())
        self.fault = fault
        self.text = text


class BlobWriter(Protocol):
    """Streams one new blob to a device. Exactly one of commit and abort ends it."""

    async def write(self, data: Buffer) -> None:
        """Append `data`; returns when the caller may reuse it. Any length; not yet durable.

        Raises DeviceFault (FULL, OFFLINE, ...); the writer must then be aborted.
        """

    async def commit(self) -> None:
        """Make the blob durable and known to the device's index. Raises DeviceFault.

        A cancelled or failed commit leaves the blob there whole, or not at all.
        """

    async def abort(self) -> None:
        """Drop what was written. Idempotent; never raises."""


class BlobReader(Protocol):
    """One open blob. Its bytes stay readable after a delete until `close`."""

    header: BlobHeader
    size_bytes: int

    async def read(self, offset: int, length: int) -> Sequence[memoryview]:
        """Verified bytes [offset, offset + length), as one or more views valid after `close`.

        Raises DeviceFault(CORRUPT) where a checksum does not match: the blob is then in quarantine.
        ValueError for a range outside the blob.
        """

    def close(self) -> None:
        """Let go of the blob. Idempotent."""


class RowDevice(Protocol):
    """The rows of one device, as they are asked in one ring epoch."""

    device_id: int
    local: bool
    """True where the device lives in this process: asking it costs no message."""

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """Carry out a row message and call `deliver` exactly once, possibly before returning.

        deadline: instant on the monotonic clock; after it the answer is Failed(DEADLINE) and the
        replica drops the message if it has not begun. An Ok is durable. Write, Accept and Prepare are
        idempotent. Answers by message: see the message types; any may be answered Failed.
        """


class DeviceClient(RowDevice, Protocol):
    """One device. Calls never raise for operating errors except DeviceFault from the blob calls."""

    def at(self, epoch: int) -> RowDevice:
        """The device for row calls of one ring epoch: Failed(EPOCH) where its process is in another.

        A device that knows no epochs (an engine or a twin by itself) answers in each.
        """

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        """Begin a new blob; raises DeviceFault. Ids are random: a name that exists is a ValueError."""

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        """Open a committed blob. Raises DeviceFault(ABSENT) where there is none."""

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        """Remove a blob; durable on return. Idempotent: an absent one is success."""

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """Committed blobs in order of (id, number) after `after`, at most `limit`."""

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        """Committed blobs by (partition, policy, number), in partitions first … first + count - 1.

        salt, power: of the ring. policy: of this one alone; "" for all. Groups are in order of their
        partitions. Raises DeviceFault; ValueError for more than GROUP_PARTITIONS_MAX partitions, or
        for ones that a ring of this power has not.
        """

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        """The blobs of one group in order of their ids after `after` (b"": from the first), at most
        `limit`. Raises as group_blobs does."""

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """Garbage hints in order of seq after `after_seq`, at most `limit`."""

    async def forget_garbage(self, seqs: list[int]) -> None:
        """Drop hints that were dealt with. Idempotent."""
