"""The rows of multipart uploads: an upload's own, which decides, and those of its parts.

An upload's row goes from open to completing (nothing decided yet, its parts stand still), to completing
with what the object's row will be, to gone; or from open to aborted to gone. Each step is a
conditional update of just what was found. The verbs on open uploads are `multipart.py`, the steps
that end one are `upload_ends.py`.
"""

import contextlib
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, NamedTuple

import msgspec

from proxy.core.errors import NoSuchUpload, Unavailable
from proxy.core.names import object_name
from proxy.core.object_rows import ObjectRows, encode
from proxy.core.register import Sent, Value, Versioned, tombstone
from proxy.core.rows import Rows, SealedShard
from proxy.core.shard_scan import ShardScan
from proxy.core.shards import part_name, parts_shard, upload_name, uploads_shard
from proxy.core.types import PART_NUMBER_MAX, Container, PartHead, UploadHead
from runtime.tasks import together
from storage.types import RowFlag, Scan

OPEN: Final = "open"
COMPLETING: Final = "completing"
ABORTED: Final = "aborted"

PARTS_PAGE: Final = 1000
DROP_CONCURRENCY_MAX: Final = 16

_UPLOAD_ID = re.compile(r"[0-9a-f]{48}")

_decode_upload = msgspec.msgpack.Decoder(UploadHead).decode
_decode_part = msgspec.msgpack.Decoder(PartHead).decode


class Moved(Exception):
    """An upload's row is no longer what was found, or not surely: look again who took the next step."""


class FoundUpload(NamedTuple):
    """An upload's row, and the container that it was found in."""

    container: Container
    head: UploadHead
    row: Versioned

    @property
    def decided(self) -> bool:
        """The row says what the object will be."""
        return self.head.state == COMPLETING and self.row.value.payload != b""

    @property
    def open(self) -> bool:
        """Nothing is decided: parts are welcome."""
        return self.head.state == OPEN or (self.head.state == COMPLETING and not self.decided)


class UploadRows:
    """Reads and writes the rows of uploads."""

    def __init__(self, rows: Rows, object_rows: ObjectRows, scan: ShardScan) -> None:
        self._rows = rows
        self._object_rows = object_rows
        self._scan = scan

    def new_id(self, now_ns: int) -> str:
        """An id for an upload; ids sort by their time."""
        return f"{now_ns:016x}{self._object_rows.nonce().hex()}"

    async def create(self, container: Container, head: UploadHead) -> None:
        """Write the row of a new upload. Raises NoSuchContainer."""
        value = Value(int(RowFlag.UNCOUNTED), 0, encode(head), b"")

        async def write(living: Container) -> bytes:
            shard = uploads_shard(living.head.id)
            return await self._rows.write(shard, upload_name(head.object_name, head.id), value)

        await self._object_rows.in_living(container, write)

    async def find(self, container: Container, name: str, upload_id: str) -> FoundUpload:
        """The upload's row, whatever its state. Raises NoSuchUpload, NoSuchContainer."""
        object_name(name)
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise NoSuchUpload(upload_id)

        async def read(living: Container) -> FoundUpload:
            shard = uploads_shard(living.head.id)
            row = await self._rows.read(shard, upload_name(name, upload_id))
            if row.sealed:  # it may be the shard of a container that is gone, with all its uploads
                present = await self._object_rows.renewed(living)
                if present.head.id != living.head.id:
                    return await read(present)
            if not row.live:
                raise NoSuchUpload(upload_id)
            return FoundUpload(living, _decode_upload(row.value.head), row)

        return await self._object_rows.in_living(container, read)

    async def move(self, found: FoundUpload, state: str, payload: bytes = b"") -> FoundUpload:
        """Take the row from what was found to `state`. Raises Moved."""
        head = msgspec.structs.replace(found.head, state=state, nonce=self._object_rows.nonce())
        value = Value(int(RowFlag.UNCOUNTED), 0, encode(head), payload)
        version = await self._replace(found, value)
        return FoundUpload(found.container, head, Versioned(version, value))

    async def remove(self, found: FoundUpload) -> None:
        """Let the upload go. Raises Moved."""
        await self._replace(found, tombstone(self._object_rows.nonce()))

    async def _replace(self, found: FoundUpload, value: Value) -> bytes:
        expected = found.row.value
        name = upload_name(found.head.object_name, found.head.id)

        def decide(row: Versioned) -> Value:
            if row.value != expected:
                raise Moved
            return value

        before: list[Sent | None] = [None]

        async def update(living: Container) -> bytes:
            try:
                return await self._rows.update(uploads_shard(living.head.id), name, decide, before[0])
            except SealedShard as sealed:
                before[0] = sealed.sent
                raise

        try:
            return await self._object_rows.in_living(found.container, update, pinned=True)
        except Unavailable as error:  # it may have happened, most likely beside another request's step
            raise Moved from error

    # -- parts --

    async def write_part(self, upload_id: str, number: int, value: Value) -> None:
        """Store a part's row."""
        await self._rows.write(parts_shard(upload_id), part_name(number), value)

    async def read_part(self, upload_id: str, number: int) -> Versioned:
        """A part's row, with its payload."""
        return await self._rows.read(parts_shard(upload_id), part_name(number))

    async def drop_part(self, upload_id: str, number: int, value: Value) -> None:
        """Remove a part's row where it still is `value`."""

        def decide(row: Versioned) -> Value:
            if row.value != value:
                raise Moved
            return tombstone(self._object_rows.nonce())

        with contextlib.suppress(Moved):
            await self._rows.update(parts_shard(upload_id), part_name(number), decide)

    async def part_pages(
        self, upload_id: str, after_number: int = 0, limit: int = PARTS_PAGE
    ) -> AsyncGenerator[list[PartHead], None]:
        """Heads of the parts after a number, in order, in pages of about `limit`."""
        shard = parts_shard(upload_id)
        more = after_number < PART_NUMBER_MAX
        start = part_name(after_number + 1) if more else b""
        while more:
            page = await self._scan.page(Scan(shard, start, b"", limit))
            yield [_decode_part(row.head) for row in page.rows]
            start, more = page.covered_to, page.covered_to != b""

    async def parts(self, upload_id: str, after_number: int = 0, limit: int = 0) -> list[PartHead]:
        """Heads of the parts after a number, in order; limit 0: all."""
        found: list[PartHead] = []
        async with aclosing(self.part_pages(upload_id, after_number, limit or PARTS_PAGE)) as pages:
            async for page in pages:
                found += page
                if limit and len(found) >= limit:
                    return found[:limit]
        return found

    async def drop_parts(self, upload_id: str, taken_over: set[bytes]) -> None:
        """Remove the rows of an ended upload's parts; those leave garbage whose blobs no object has
        taken over (given by their ids)."""
        shard = parts_shard(upload_id)

        async def drop(head: PartHead) -> None:
            taken = all(blob.id in taken_over for blob in head.blobs)
            flags = RowFlag.TOMBSTONE | (RowFlag.TAKEN_OVER if taken else RowFlag.NONE)
            await self._rows.write(shard, part_name(head.number), Value(flags, 0, b"", b""))

        async with aclosing(self.part_pages(upload_id)) as pages:
            async for page in pages:
                for at in range(0, len(page), DROP_CONCURRENCY_MAX):
                    await together(map(drop, page[at : at + DROP_CONCURRENCY_MAX]))
