"""Writing one blob: segments to all replicas at once, or as k + m fragments, one for each device.

A blob counts as stored when its quorum has made it durable: a majority of replicas, or
k + max(1, m//2) fragments. A device that fails on the way is left out while a quorum is left.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.core.errors import Full, Unavailable
from proxy.core.types import Buffer, Policy
from runtime.tasks import unless_slow
from storage.contract import BlobWriter, DeviceClient, DeviceFault
from storage.erasure.contract import Codec
from storage.types import BlobHeader, BlobName, Fault

BLOB_COMMIT_MAX_S: Final = 60.0
"""A device that has not made its copy durable by then is left out."""

BEGIN_PATIENCE_S: Final = 2.0
COMMIT_PATIENCE_S: Final = 10.0
"""Once a quorum has begun its copies, or made them durable, the other devices get this long to."""


def write_quorum(policy: Policy) -> int:
    """How many copies or fragments must be durable before a blob counts as stored."""
    if policy.erasure_coded:
        return policy.k + max(1, policy.m // 2)
    return policy.k // 2 + 1


class BlobSink:
    """One blob on its way to its devices. `commit` or `abort` ends it."""

    def __init__(self, blob_id: bytes, policy: Policy, codec: Codec | None) -> None:
        self.blob_id = blob_id
        self.size_bytes = 0
        self.policy = policy
        self._codec = codec
        self._writers: dict[int, BlobWriter] = {}
        self._faults: list[DeviceFault] = []

    async def open(self, devices: Sequence[DeviceClient], header: BlobHeader, deadline: float) -> None:
        """Begin on all devices; those that refuse are left out while a quorum is left."""

        async def begin(number: int, device: DeviceClient) -> None:
            named = BlobName(self.blob_id, number)
            await self._try_begin(number, device, msgspec.structs.replace(header, name=named), deadline)

        quorum = write_quorum(self.policy)
        works = (begin(n, device) for n, device in enumerate(devices))
        await unless_slow(works, lambda: len(self._writers) >= quorum, BEGIN_PATIENCE_S)
        self._require_quorum()

    async def _try_begin(
        self, number: int, device: DeviceClient, header: BlobHeader, deadline: float
    ) -> None:
        try:
            self._writers[number] = await device.create_blob(header, deadline)
        except DeviceFault as fault:
            self._faults.append(fault)

    @property
    def missing(self) -> list[int]:
        """Numbers of the copies or fragments that were left out on the way."""
        return [number for number in range(self.policy.width) if number not in self._writers]

    def _require_quorum(self) -> None:
        if len(self._writers) >= write_quorum(self.policy):
            return
        if all(fault.fault is Fault.FULL for fault in self._faults):
            raise Full("too few devices have room")
        said = ", ".join(sorted({fault.fault.name.lower() for fault in self._faults}))
        raise Unavailable(f"too few devices take the object's data: {said}")

    async def write(self, segment: Buffer) -> None:
        """Send one segment (at most SEGMENT_BYTES; only the last one is shorter)."""
        self.size_bytes += len(segment)
        if self._codec is None:
            pieces: dict[int, Buffer] = dict.fromkeys(self._writers, segment)
        else:
            fragments = await _encoded(self._codec, segment)
            pieces = {number: fragments[number] for number in self._writers}
        for number, piece in pieces.items():  # returns at once while the device keeps up
            await self._try_write(number, piece)
        self._require_quorum()

    async def _try_write(self, number: int, piece: Buffer) -> None:
        try:
            await self._writers[number].write(piece)
        except DeviceFault as fault:
            await self._drop(number, fault)

    async def _drop(self, number: int, fault: DeviceFault) -> None:
        self._faults.append(fault)
        await self._writers.pop(number).abort()

    async def commit(self) -> None:
        """Make the blob durable on all devices that still take part, a quorum at least."""

        durable: set[int] = set()

        async def settle(number: int, writer: BlobWriter) -> None:
            try:
                async with asyncio.timeout(BLOB_COMMIT_MAX_S):
                    await writer.commit()
                durable.add(number)
            except TimeoutError:
                await self._drop(number, DeviceFault(Fault.DEADLINE, "commit"))
            except DeviceFault as fault:
                await self._drop(number, fault)

        quorum = write_quorum(self.policy)
        works = [settle(n, writer) for n, writer in self._writers.items()]
        await unless_slow(works, lambda: len(durable) >= quorum, COMMIT_PATIENCE_S)
        for number in self._writers.keys() - durable:
            await self._drop(number, DeviceFault(Fault.DEADLINE, "commit"))
        self._require_quorum()

    async def abort(self) -> None:
        """Drop what was written and not committed. Never raises."""
        writers, self._writers = self._writers, {}
        await asyncio.gather(*(writer.abort() for writer in writers.values()))


async def _encoded(codec: Codec, segment: Buffer) -> list[bytes]:
    if codec.quick:
        return codec.encode(segment)
    return await asyncio.get_running_loop().run_in_executor(None, codec.encode, segment)
