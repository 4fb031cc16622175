"""Which blobs an owner's rows name: what is asked before a blob is removed, or made anew.

A blob's header names its owner: the object's row, and the upload whose part it was. The answer is read
by quorum; what can't be read now is an error, never a no.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from proxy.core.blobs import Owner
from proxy.core.errors import NoSuchContainer, StoreError, Unavailable
from proxy.core.object_rows import decode_manifest
from proxy.core.register import Versioned
from proxy.core.rows import Rows, SealedShard
from proxy.core.seals import decode_seal, sealed_container
from proxy.core.shard_scan import ShardScan
from proxy.core.shards import (
    UPLOAD_SEPARATOR,
    container_id,
    part_name,
    parts_shard,
    uploads_shard,
)
from proxy.core.types import Blob, ContainerHead, PartHead, UploadHead
from proxy.core.upload_rows import COMPLETING
from storage.types import SEAL_NAME, BlobHeader, RowFlag, Scan, Want

PARTS_PER_PAGE: Final = 1000

UNPROVABLE: Final = (StoreError, SealedShard, msgspec.MsgspecError)
"""What `Owners.named` raises where it can't be told now."""

_decode_container = msgspec.msgpack.Decoder(ContainerHead).decode
_decode_upload = msgspec.msgpack.Decoder(UploadHead).decode
_decode_part = msgspec.msgpack.Decoder(PartHead).decode


def owner_of(header: BlobHeader) -> Owner:
    """The row that names a blob, if any does."""
    return Owner(header.owner_shard, header.owner_name, header.upload)


class Named(NamedTuple):
    """The blobs of one owner that rows name, by id. open: a completing upload may name any others."""

    blobs: dict[bytes, Blob]
    open: bool = False


def _by_id(blobs: Iterable[Blob]) -> dict[bytes, Blob]:
    return {blob.id: blob for blob in blobs}


class Owners:
    """Reads owners' rows by quorum."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._scan = ShardScan(rows)

    async def named(self, owner: Owner) -> set[bytes] | None:
        """Ids of the blobs of this owner that rows name now; None where a completing upload may name
        any of its own. Raises UNPROVABLE.
        """
        found = await self.blobs(owner)
        return None if found.open else set(found.blobs)

    async def blobs(self, owner: Owner) -> Named:
        """The blobs of this owner that rows name now. Raises UNPROVABLE."""
        try:
            return await self._named_by_rows(owner)
        except NoSuchContainer:
            return Named({})

    async def _named_by_rows(self, owner: Owner) -> Named:
        """The rows are asked in the order in which blobs pass from one to the next: what has been
        handed on by the time that one is asked, the next one names."""
        by_parts: dict[bytes, Blob] = {}
        state = ""
        if owner.upload:
            by_parts = await self._named_by_parts(owner.upload.decode())
            state = await self._upload_state(owner)
            if state == "":
                by_parts = {}  # rows that an ended upload left behind
        row = await self._object_row(owner.shard, owner.name)
        if state == COMPLETING:  # in a container that is gone nobody completes it any more
            return Named(by_parts, open=True)
        if not row.live or not row.value.flags & RowFlag.MANIFEST:
            return Named(by_parts)
        parts = decode_manifest(row.value.payload).parts
        return Named(by_parts | _by_id(blob for part in parts for blob in part.blobs))

    async def _named_by_parts(self, upload_id: str) -> dict[bytes, Blob]:
        shard = parts_shard(upload_id)
        named: dict[bytes, Blob] = {}
        start, more = part_name(0), True
        while more:
            page = await self._scan.page(Scan(shard, start, b"", PARTS_PER_PAGE))
            for row in page.rows:
                named |= _by_id(_decode_part(row.head).blobs)
            start, more = page.covered_to, page.covered_to != b""
        return named

    async def _upload_state(self, owner: Owner) -> str:
        """The state of the upload that a blob was a part of; "" where that has ended.

        Raises NoSuchContainer where its row can't be settled any more, because its container is gone.
        """
        shard = uploads_shard(container_id(owner.shard))
        try:
            row = await self._rows.read(shard, owner.name + UPLOAD_SEPARATOR + owner.upload)
        except SealedShard:
            await self._sealed_head(shard)
            raise
        return _decode_upload(row.value.head).state if row.live else ""

    async def _object_row(self, shard: bytes, name: bytes) -> Versioned:
        """The object's row, wherever it is now. Raises NoSuchContainer where all its rows are gone.

        A blob's header names the shard that its row was in when the blob was made. A sealed shard's
        rows may have moved on, and then the copies that are left there say nothing.
        """
        try:
            row = await self._rows.read(shard, name)
            if not row.sealed:
                return row
        except SealedShard:
            present = await self._present_shard(shard, name)
            if present == shard:
                raise
        else:
            present = await self._present_shard(shard, name)
            if present == shard:
                return row
        return await self._object_row(present, name)

    async def _present_shard(self, shard: bytes, name: bytes) -> bytes:
        """Where the rows of a sealed shard are now. Raises as `_sealed_head`."""
        return (await self._sealed_head(shard)).layout.shard_of(name)

    async def _sealed_head(self, shard: bytes) -> ContainerHead:
        """The head of the container whose shard is sealed: its seal says whose it is.

        Raises NoSuchContainer, and Unavailable where the seal was lifted meanwhile.
        """
        seal = await self._rows.read(shard, SEAL_NAME)
        if not seal.live:
            raise Unavailable("the shard is no longer sealed")
        containers, container = sealed_container(decode_seal(seal.value.head))
        row = await self._rows.read(containers, container, Want.HEAD)
        head = _decode_container(row.value.head) if row.live else None
        if head is None or head.id != container_id(shard):
            raise NoSuchContainer(container.decode())
        return head
