"""The collector: removes blobs that no row names any more, after a grace period and with a proof.

Two sources of candidates, both on the devices of this process: hints that a device keeps where it
replaced a row that owned blobs, and a slow walk over all its blobs for those that never got a row. A
candidate's own header names its owner; it is removed only if neither the owner's row, read by quorum,
nor a part or an upload of it names it, or if the container is gone with all its rows. What cannot be
proven now stays.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec

from proxy.core.blobs import BLOB_DEADLINE_S, Blobs, Owner
from proxy.core.errors import StoreError, Unavailable
from proxy.core.object_rows import decode_manifest
from proxy.core.placement import Placement
from proxy.core.rows import Rows, SealedShard
from proxy.core.shard_scan import ShardScan
from proxy.core.shards import (
    UPLOAD_SEPARATOR,
    container_id,
    containers_shard,
    part_name,
    parts_shard,
    uploads_shard,
)
from proxy.core.types import Blob, ContainerHead, PartHead, SealHead, UploadHead
from proxy.core.upload_rows import COMPLETING
from runtime.clock import Clock
from storage.contract import DeviceClient, DeviceFault
from storage.types import (
    SEAL_NAME,
    BlobEntry,
    BlobHeader,
    BlobName,
    Fault,
    GarbageEntry,
    RowFlag,
    Scan,
    Want,
)

HINTS_PER_ROUND: Final = 200
BLOBS_PER_ROUND: Final = 200
"""How many candidates of one device a round looks at, so that requests come first."""

PARTS_PER_PAGE: Final = 1000

ROUND_MAX_S: Final = 30.0
"""Time between rounds; a shorter grace makes it shorter."""

ORPHAN_GRACE_S: Final = 7 * 86400.0
"""A blob without a row is left alone for this long: its PUT may still be under way."""

_UNPROVABLE: Final = (StoreError, SealedShard, msgspec.MsgspecError)

_decode_container = msgspec.msgpack.Decoder(ContainerHead).decode
_decode_seal = msgspec.msgpack.Decoder(SealHead).decode
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
        self._hinted: dict[int, int] = {}
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
        entries = await device.list_garbage(self._hinted.get(device.device_id, 0), HINTS_PER_ROUND)
        done = [e.seq for e in entries if e.replaced_ns <= before_ns and await self._settle(e)]
        if done:
            await device.forget_garbage(done)
        # Those that can't be settled now must not stand before the others.
        self._hinted[device.device_id] = entries[-1].seq if len(entries) == HINTS_PER_ROUND else 0

    async def _settle(self, entry: GarbageEntry) -> bool:
        """Remove what a replaced version alone named; False where that can't be told now."""
        try:
            parts = decode_manifest(entry.manifest).parts
            orphans = await self._orphans([blob for part in parts for blob in part.blobs])
        except _UNPROVABLE:
            return False
        await self._blobs.try_delete(orphans)
        self.removed += len(orphans)
        return True

    async def _orphans(self, candidates: list[Blob]) -> list[Blob]:
        """Those that no row names. The blobs of one version have one owner, so it is asked once."""
        owned: dict[Owner, list[Blob]] = {}
        for blob in candidates:
            header = await self._header(blob)
            if header is not None:
                owned.setdefault(owner_of(header), []).append(blob)
        orphans = []
        for owner, blobs in owned.items():
            named = await self._named(owner)
            orphans += [blob for blob in blobs if named is not None and blob.id not in named]
        return orphans

    async def _header(self, blob: Blob) -> BlobHeader | None:
        """What any of its copies says of the blob; None where there is no copy left.

        Raises Unavailable where a copy may be that can't be opened now.
        """
        deadline = self._clock.monotonic() + BLOB_DEADLINE_S
        devices = self._placement.blob_devices(blob.id, blob.policy)
        unknown = False
        for number, device in enumerate(devices):
            try:
                reader = await device.open_blob(BlobName(blob.id, number), deadline)
            except DeviceFault as fault:
                unknown = unknown or fault.fault is not Fault.ABSENT
                continue
            header = reader.header
            reader.close()
            return header
        if unknown:
            raise Unavailable("no copy of a blob can be opened")
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
        name = entry.header.name
        try:
            named = await self._named(owner_of(entry.header))
        except _UNPROVABLE:
            return
        if named is not None and name.id not in named:
            await device.delete_blob(name, self._clock.monotonic() + BLOB_DEADLINE_S)
            self.removed += 1

    # -- proofs --

    async def _named(self, owner: Owner) -> set[bytes] | None:
        """Ids of the blobs of this owner that rows name now; None where a completing upload may name
        any of its own. Raises StoreError, SealedShard where that can't be read.
        """
        try:
            return await self._named_by_rows(owner)
        except SealedShard:
            if await self._buried(owner.shard):
                return set()
            raise

    async def _named_by_rows(self, owner: Owner) -> set[bytes] | None:
        """The rows are asked in the order in which blobs pass from one to the next: what has been
        handed on by the time that one is asked, the next one names."""
        by_parts: set[bytes] = set()
        if owner.upload:
            by_parts = await self._named_by_parts(owner.upload.decode())
            state = await self._upload_state(owner)
            if state == COMPLETING:
                return None
            if state == "":
                by_parts = set()  # rows that an ended upload left behind
        row = await self._rows.read(owner.shard, owner.name)
        if row.sealed and await self._buried(owner.shard):
            return set()
        if not row.live or not row.value.flags & RowFlag.MANIFEST:
            return by_parts
        parts = decode_manifest(row.value.payload).parts
        return by_parts | {blob.id for part in parts for blob in part.blobs}

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

    async def _upload_state(self, owner: Owner) -> str:
        """The state of the upload that a blob was a part of; "" where that has ended."""
        shard = uploads_shard(container_id(owner.shard))
        row = await self._rows.read(shard, owner.name + UPLOAD_SEPARATOR + owner.upload)
        return _decode_upload(row.value.head).state if row.live else ""

    async def _buried(self, shard: bytes) -> bool:
        """Whether a sealed shard's container is gone: its seal says which one that was."""
        seal = await self._rows.read(shard, SEAL_NAME)
        if not seal.live:
            return False
        head = _decode_seal(seal.value.head)
        row = await self._rows.read(containers_shard(head.account), head.container.encode(), Want.HEAD)
        return not row.live or _decode_container(row.value.head).id != container_id(shard)


def owner_of(header: BlobHeader) -> Owner:
    """The row that names a blob, if any does."""
    return Owner(header.owner_shard, header.owner_name, header.upload)
