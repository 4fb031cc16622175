"""Devices behind their breakers: the DeviceClient contract, every call by way of the device's guard.

`guard.py` decides which calls are made and learns from how they end.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from proxy.core.breaker import Kind
from proxy.core.guard import REFUSED, Changed, Guard, GuardStatus
from runtime.clock import Clock
from storage.contract import BlobReader, BlobWriter, Buffer, Deliver, DeviceClient, RowDevice
from storage.types import (
    Accept,
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    GarbageEntry,
    Prepare,
    RowMessage,
    Write,
)

_CHANGING: Final = frozenset({Write, Accept, Prepare})


class GuardedRows:
    """The rows of a guarded device, as they are asked in one ring epoch."""

    __slots__ = ("_send", "device_id", "guard", "local")

    def __init__(self, inner: RowDevice, guard: Guard) -> None:
        self.device_id = inner.device_id
        self.local = inner.local
        self.guard = guard
        self._send = inner.send

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See RowDevice.send."""
        guard = self.guard
        kind = Kind.CHANGING if type(message) in _CHANGING else Kind.READING
        if guard.refusing and not guard.admits(kind):
            deliver(REFUSED, b"")
            return
        guard.waiting += 1
        if not guard.ticking:
            guard.watch()
        self._send(message, payload, deadline, partial(guard.answered, kind, guard.era, deliver))


class GuardedDevice(GuardedRows):
    """A device behind its breaker. A wrapper with the DeviceClient contract."""

    __slots__ = ("_inner",)

    def __init__(self, inner: DeviceClient, guard: Guard) -> None:
        super().__init__(inner, guard)
        self._inner = inner

    def at(self, epoch: int) -> GuardedRows:
        """See DeviceClient.at."""
        return GuardedRows(self._inner.at(epoch), self.guard)

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        """See DeviceClient.create_blob."""
        writer = await self.guard.run(Kind.CHANGING, self._inner.create_blob, header, deadline)
        return _GuardedWriter(writer, self.guard)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        """See DeviceClient.open_blob."""
        reader = await self.guard.run(Kind.READING, self._inner.open_blob, name, deadline)
        return _GuardedReader(reader, self.guard)

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        """See DeviceClient.delete_blob."""
        await self.guard.run(Kind.CHANGING, self._inner.delete_blob, name, deadline)

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """See DeviceClient.list_blobs."""
        return await self.guard.run(Kind.READING, self._inner.list_blobs, after, limit)

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        """See DeviceClient.group_blobs."""
        call = self._inner.group_blobs
        return await self.guard.run(Kind.READING, call, salt, power, policy, first, count)

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        """See DeviceClient.list_group."""
        call = self._inner.list_group
        return await self.guard.run(
            Kind.READING, call, salt, power, policy, partition, number, after, limit
        )

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """See DeviceClient.list_garbage."""
        return await self.guard.run(Kind.READING, self._inner.list_garbage, after_seq, limit)

    async def forget_garbage(self, seqs: list[int]) -> None:
        """See DeviceClient.forget_garbage."""
        await self.guard.run(Kind.CHANGING, self._inner.forget_garbage, seqs)


class _GuardedWriter:
    """A BlobWriter of a guarded device."""

    def __init__(self, inner: BlobWriter, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def write(self, data: Buffer) -> None:
        """See BlobWriter.write."""
        await self._guard.run(Kind.CHANGING, self._inner.write, data)

    async def commit(self) -> None:
        """See BlobWriter.commit."""
        await self._guard.run(Kind.CHANGING, self._inner.commit)

    async def abort(self) -> None:
        """See BlobWriter.abort."""
        await self._inner.abort()


class _GuardedReader:
    """A BlobReader of a guarded device."""

    def __init__(self, inner: BlobReader, guard: Guard) -> None:
        self.header = inner.header
        self.size_bytes = inner.size_bytes
        self._inner = inner
        self._guard = guard

    async def read(self, offset: int, length: int) -> Sequence[memoryview]:
        """See BlobReader.read."""
        return await self._guard.run(Kind.READING, self._inner.read, offset, length)

    def close(self) -> None:
        """See BlobReader.close."""
        self._inner.close()


class Guards:
    """The guards of one process, one for each device that it knows."""

    def __init__(self, clock: Clock, changed: Changed | None = None) -> None:
        self._clock = clock
        self._changed = changed
        self._by_device: dict[int, Guard] = {}

    def device(self, inner: DeviceClient) -> GuardedDevice:
        """`inner` behind a breaker of its own; a later client of the same id gets a new one."""
        guard = Guard(inner, self._clock, self._changed)
        self._by_device[inner.device_id] = guard
        return GuardedDevice(inner, guard)

    def forget(self, device_ids: Iterable[int]) -> None:
        """Devices that are no longer in the ring."""
        for device_id in device_ids:
            self._by_device.pop(device_id, None)

    def status(self) -> list[GuardStatus]:
        """All of them, in order of the devices' ids."""
        return [self._by_device[device_id].status() for device_id in sorted(self._by_device)]


def responsive(device: RowDevice) -> bool:
    """Whether a device answers as far as we know: ask others first where it does not."""
    return device.guard.responsive if isinstance(device, GuardedRows) else True


def hasten(devices: Iterable[RowDevice]) -> bool:
    """Look at once whether those that are away answer again; whether any of them may do so soon."""
    soon = [device.guard.hasten() for device in devices if isinstance(device, GuardedRows)]
    return any(soon)
