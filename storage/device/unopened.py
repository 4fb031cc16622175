"""A device that could not be opened: it answers OFFLINE to everything and its status says why.

One device that can't be read, or is another one, must not keep a node from serving the others. The
worker puts this in the device's place; the next start tries again.
"""

from storage.contract import BlobReader, BlobWriter, Deliver, DeviceFault
from storage.device.config import DeviceStatus
from storage.types import (
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    Failed,
    Fault,
    GarbageEntry,
    RowMessage,
)


class UnopenedDevice:
    """See DeviceClient. why: what kept it from being opened."""

    local = True

    def __init__(self, device_id: int, why: str) -> None:
        self.device_id = device_id
        self._why = why

    def at(self, epoch: int) -> "UnopenedDevice":
        """See DeviceClient.at: the fence is `storage/fence.py`."""
        return self

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See DeviceClient.send."""
        deliver(Failed(Fault.OFFLINE, self._why), b"")

    def _fault(self) -> DeviceFault:
        return DeviceFault(Fault.OFFLINE, self._why)

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        """See DeviceClient.create_blob."""
        raise self._fault()

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        """See DeviceClient.open_blob."""
        raise self._fault()

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        """See DeviceClient.delete_blob."""
        raise self._fault()

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """See DeviceClient.list_blobs."""
        raise self._fault()

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        """See DeviceClient.group_blobs."""
        raise self._fault()

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        """See DeviceClient.list_group."""
        raise self._fault()

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """See DeviceClient.list_garbage."""
        raise self._fault()

    async def forget_garbage(self, seqs: list[int]) -> None:
        """See DeviceClient.forget_garbage."""
        raise self._fault()

    def status(self) -> DeviceStatus:
        """Nothing is known of it, but why."""
        return DeviceStatus(
            device_id=self.device_id,
            incarnation="",
            offline=self._why,
            full=False,
            free_bytes=0,
            journal_segments=0,
            journal_bytes=0,
            live_bytes=0,
            index_bytes=0,
            unindexed_rows=0,
            checkpoint_age_s=None,
            sync_latency_s=0.0,
            corrupt_count=0,
            replayed_rows=0,
            notes=(),
        )
