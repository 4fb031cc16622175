"""Links on which blob calls take their time, so that others come between any two of them."""

import asyncio
import random
from typing import ClassVar

from storage.contract import BlobReader, BlobWriter, Buffer
from storage.faults import FaultyDevice
from storage.types import BlobEntry, BlobGroup, BlobHeader, BlobName


class SlowDevice(FaultyDevice):
    """A link whose blob calls take a random while, before and after."""

    chance: ClassVar[random.Random] = random.Random(0)
    delay_max_s: ClassVar[float] = 0.02

    async def _while(self) -> None:
        await asyncio.sleep(self.chance.uniform(0, self.delay_max_s))

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        await self._while()
        return _SlowWriter(await super().create_blob(header, deadline), self)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        await self._while()
        reader = await super().open_blob(name, deadline)
        await self._while()
        return reader

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        await self._while()
        await super().delete_blob(name, deadline)
        await self._while()

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        found = await super().list_blobs(after, limit)
        await self._while()
        return found

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        found = await super().group_blobs(salt, power, policy, first, count)
        await self._while()
        return found

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        found = await super().list_group(salt, power, policy, partition, number, after, limit)
        await self._while()
        return found


class _SlowWriter:
    """A BlobWriter of a slow device."""

    def __init__(self, inner: BlobWriter, device: SlowDevice) -> None:
        self._inner = inner
        self._device = device

    async def write(self, data: Buffer) -> None:
        await self._inner.write(data)
        await self._device._while()

    async def commit(self) -> None:
        await self._device._while()
        await self._inner.commit()
        await self._device._while()

    async def abort(self) -> None:
        await self._inner.abort()
