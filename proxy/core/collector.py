"""The collector: removes blobs that no row names any more, after a grace period and with a proof.

Two sources of candidates, both on the devices of this process: hints that a device keeps where it
replaced a row that owned blobs, and a slow walk over all its blobs for those that never got a row. A
candidate's own header names its owner; it is removed only if neither the owner's row, read by quorum,
nor a part or an upload of it names it. What cannot be proven now stays.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec

from proxy.core.blobs import BLOB_DEADLINE_S, Blobs
from proxy.core.errors import StoreError
from proxy.core.object_rows import decode_manifest
from proxy.core.placement import Placement
from proxy.core.rows import Rows, SealedShard
from proxy.core.shard_scan import ShardScan
from proxy.core.shards import UPLOAD_SEPARATOR, part_name, parts_shard, uploads_shard
from proxy.core.types import Blob, PartHead, UploadHead
from runtime.clock import Clock
from storage.contract import DeviceClient, DeviceFault
from storage.types import (
    BlobEntry,
    BlobHeader,
    BlobName,
    GarbageEntry,
    RowFlag,
    Scan,
)

HINTS_PER_ROUND: Final = 200
BLOBS_PER_ROUND: Final = 200
"""How many candidates of one device a round looks at, so that requests come first."""

PARTS_PER_PAGE: Final = 1000

ROUND_MAX_S: Final = 30.0
"""Time between rounds; a shorter grace makes it shorter."""

ORPHAN_GRACE_S: Final = 7 * 86400.0
"""A blob without a row is left alone for this long: its PUT may still be under way."""

_decode_upload = msgspec.msgpack.Decoder(UploadHead).decode
_decode_part = msgspec.msgpack.Decoder(PartHead).decode


class Collector:
    """Collects on `owned` devices. grace_s: how long replaced blobs stay for readers under way."""

    def __init__(
        self,
        rows: Rows,
        blobs: Blobs,
        placement: Placement,
        owned: Iterable[DeviceClient],
        clock: Clock,
        grace_s: float,
        orphan_grace_s: float = ORPHAN_GRACE_S,
    ) -> None:
        self._rows = rows
        self._blobs = blobs
        self._placement = placement
        self._owned = list(owned)
        self._clock = clock
        self._grace_s = grace_s
        self._orphan_grace_s = orphan_grace_s
        self._scan = ShardScan(rows)
        self._walked: dict[int, BlobName | None] = {}
        self.removed = 0
        """Blobs (hints) and copies (walk) removed so far."""

    async def run(self) -> None:
        """Rounds for ever; to be cancelled."""
        while True:
            await asyncio.sleep(min(ROUND_MAX_S, max(1.0, self._grace_s / 2)))
            await self.round()

    async def round(self) -> None:
        """One look at every device. What fails now is tried again in a later round."""
        for device in self._owned:
            try:
                await self._hints(device)
                await self._walk(device)
            except DeviceFault:
                continue  # the device says so itself, in its status

    # -- hints --

    async def _hints(self, device: DeviceClient) -> None:
        before_ns = self._clock.now_ns() - int(self._grace_s * 1e9)
        entries = await device.list_garbage(0, HINTS_PER_ROUND)
        done = [e.seq for e in entries if e.replaced_ns <= before_ns and await self._settle(e)]
        if done:
            await device.forget_garbage(done)

    async def _settle(self, entry: GarbageEntry) -> bool:
        """Remove what a replaced version alone named; False where that can't be told now."""
        candidates = [blob for part in decode_manifest(entry.manifest).parts for blob in part.blobs]
        try:
            named = await self._named_by(entry.shard, entry.name)
            gone = [blob for blob in candidates if blob.id not in named]
            proven = [blob for blob in gone if await self._unowned(blob)]
        except (StoreError, SealedShard):
            return False
        await self._blobs.try_delete(proven)
        self.removed += len(proven)
        return True

    async def _unowned(self, blob: Blob) -> bool:
        header = await self._header(blob)
        return header is None or await self._proven_orphan(header)

    async def _header(self, blob: Blob) -> BlobHeader | None:
        """What any of its copies says of the blob; None where there is no copy left."""
        deadline = self._clock.monotonic() + BLOB_DEADLINE_S
        devices = self._placement.blob_devices(blob.id, blob.policy)
        for number, device in enumerate(devices):
            try:
                reader = await device.open_blob(BlobName(blob.id, number), deadline)
            except DeviceFault:
                continue
            header = reader.header
            reader.close()
            return header
        return None

    # -- the walk --

    async def _walk(self, device: DeviceClient) -> None:
        before_ns = self._clock.now_ns() - int(self._orphan_grace_s * 1e9)
        after = self._walked.get(device.device_id)
        entries = await device.list_blobs(after, BLOBS_PER_ROUND)
        for entry in entries:
            if entry.header.created_ns <= before_ns:
                await self._remove_orphan(device, entry)
        self._walked[device.device_id] = entries[-1].header.name if entries else None

    async def _remove_orphan(self, device: DeviceClient, entry: BlobEntry) -> None:
        try:
            orphan = await self._proven_orphan(entry.header)
        except (StoreError, SealedShard):
            return
        if orphan:
            deadline = self._clock.monotonic() + BLOB_DEADLINE_S
            await device.delete_blob(entry.header.name, deadline)
            self.removed += 1

    # -- proofs --

    async def _proven_orphan(self, header: BlobHeader) -> bool:
        """Whether no row names the blob. Raises StoreError where a row can't be read."""
        blob_id = header.name.id
        if blob_id in await self._named_by(header.owner_shard, header.owner_name):
            return False
        if not header.upload:
            return True
        if await self._completing(header):
            return False
        return blob_id not in await self._named_by_parts(header.upload.decode())

    async def _named_by(self, shard: bytes, name: bytes) -> set[bytes]:
        """Ids of the blobs that a row names now."""
        row = await self._rows.read(shard, name)
        if not row.live or not row.value.flags & RowFlag.MANIFEST:
            return set()
        parts = decode_manifest(row.value.payload).parts
        return {blob.id for part in parts for blob in part.blobs}

    async def _completing(self, header: BlobHeader) -> bool:
        """Whether the blob's upload is on its way to becoming an object."""
        shard = uploads_shard(header.owner_shard[1:17])
        row = await self._rows.read(shard, header.owner_name + UPLOAD_SEPARATOR + header.upload)
        return row.live and _decode_upload(row.value.head).state == "completing"

    async def _named_by_parts(self, upload_id: str) -> set[bytes]:
        shard = parts_shard(upload_id)
        named: set[bytes] = set()
        start, more = part_name(0), True
        while more:
            page = await self._scan.page(Scan(shard, start, b"", PARTS_PER_PAGE))
            for row in page.rows:
                named.update(blob.id for blob in _decode_part(row.head).blobs)
            start, more = page.covered_to, page.covered_to != b""
        return named
