"""Blobs of a device of another process on this host: bytes go through its files, not through a socket.

A writer stages a file in the device's directory and asks the owner to adopt it; a reader maps the
blob's file and verifies what it reads itself. `client.WireDevice` uses it where it was given the
directory. A device that has stopped serving can still be read this way: every byte is verified.
"""

from concurrent.futures import Executor

from runtime.clock import Clock
from runtime.disk import Disk
from storage.contract import BlobReader, BlobWriter, Buffer, DeviceFault
from storage.device.blob_files import StagedBlob, open_blob_file
from storage.device.blob_staging import RESERVE_BYTES
from storage.types import BlobHeader, BlobName, Fault
from storage.wire.bulk import COMMIT_TIME_S, PIECE_TIME_S
from storage.wire.connection import Connection
from storage.wire.messages import (
    ADOPT_BLOB,
    REPORT_CORRUPT_BLOB,
    STAGE_BLOB,
    AdoptBlob,
    ReportCorruptBlob,
    StageBlob,
)


class LocalFiles:
    """The directory of one device on this host. executor: for the blocking calls.

    reserve_bytes: room that its owner leaves on its file system (`DeviceConfig`).
    """

    def __init__(
        self, root: str, disk: Disk, executor: Executor, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        self._root = root
        self._disk = disk
        self._executor = executor
        self._reserve_bytes = reserve_bytes

    async def create(
        self, calls: Connection, device_id: int, header: BlobHeader, deadline: float, clock: Clock
    ) -> BlobWriter:
        """See DeviceClient.create_blob. The owner is asked first: it knows names, room and faults."""
        await calls.request(STAGE_BLOB, device_id, StageBlob(header), deadline)
        staged = StagedBlob(
            self._root, self._disk, self._executor, header, reserve_bytes=self._reserve_bytes
        )
        return LocalWriter(staged, calls, device_id, clock)

    async def open(
        self, calls: Connection, device_id: int, name: BlobName, deadline: float, clock: Clock
    ) -> BlobReader | None:
        """See DeviceClient.open_blob; None where there is no file: the owner must say why."""

        async def report(bad: BlobName, chunk: int | None) -> None:
            await try_report(calls, device_id, ReportCorruptBlob(bad, chunk), clock)

        if clock.monotonic() >= deadline:
            raise DeviceFault(Fault.DEADLINE)
        try:
            return await open_blob_file(self._root, name, self._disk, self._executor, report)
        except DeviceFault as fault:
            if fault.fault is not Fault.ABSENT:
                raise
            return None


async def try_report(
    calls: Connection, device_id: int, report: ReportCorruptBlob, clock: Clock
) -> None:
    """Tell the owner of a bad blob. Where that fails its scrub finds it; the reader fails anyway."""
    deadline = clock.monotonic() + PIECE_TIME_S
    try:
        await calls.request(REPORT_CORRUPT_BLOB, device_id, report, deadline)
    except DeviceFault:
        return


class LocalWriter:
    """A BlobWriter through a staging file."""

    def __init__(self, staged: StagedBlob, calls: Connection, device_id: int, clock: Clock) -> None:
        self._staged = staged
        self._calls = calls
        self._device_id = device_id
        self._clock = clock

    async def write(self, data: Buffer) -> None:
        """See BlobWriter.write."""
        await self._staged.write(data)

    async def commit(self) -> None:
        """See BlobWriter.commit."""
        await self._staged.finish()
        deadline = self._clock.monotonic() + COMMIT_TIME_S
        message = AdoptBlob(self._staged.name)
        await self._calls.request(ADOPT_BLOB, self._device_id, message, deadline)

    async def abort(self) -> None:
        """See BlobWriter.abort."""
        await self._staged.abort()
