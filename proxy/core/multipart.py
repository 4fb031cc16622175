"""Multipart uploads: rows that own blobs until one head row takes them over.

The upload's row decides. It goes by conditional updates from open to completing, which names the
object's version and value, to gone; or from open to aborted to gone. Whoever finds it half way
finishes it: writing the same value under the same version again is harmless, whatever was written
since. A conditional completion cannot be repeated so; half way, only its own value in place says that
it happened, and its blobs are left to the collector.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from proxy.core.blobs import Blobs
from proxy.core.errors import (
    InvalidPart,
    InvalidPartOrder,
    NoSuchObject,
    NoSuchUpload,
    ObjectTooLarge,
    PartTooSmall,
    StoreError,
    Unavailable,
)
from proxy.core.listing import Listed, list_rows
from proxy.core.names import check_attributes, object_name
from proxy.core.object_rows import (
    ObjectRows,
    decode_head,
    decode_manifest,
    encode,
    manifest_flags,
    manifest_value,
)
from proxy.core.objects import Objects
from proxy.core.preconditions import any_condition
from proxy.core.register import Value, Versioned, tombstone
from proxy.core.rows import Rows, SealedShard
from proxy.core.shard_scan import ShardScan
from proxy.core.shards import UPLOAD_SEPARATOR, part_name, parts_shard, upload_name, uploads_shard
from proxy.core.types import (
    NO_CONDITIONS,
    OBJECT_MAX_BYTES,
    PART_MIN_BYTES,
    PART_NUMBER_MAX,
    Body,
    CompletedPart,
    Conditions,
    Container,
    ListQuery,
    Manifest,
    ObjectAttributes,
    ObjectHead,
    ObjectInfo,
    Part,
    PartHead,
    PartPage,
    UploadHead,
    UploadInfo,
    UploadPage,
)
from runtime.tasks import TaskOwner
from storage.types import RowFlag, Scan, ScannedRow, Want

SWEEP_CONCURRENCY_MAX: Final = 16
PARTS_PAGE: Final = 1000

OPEN: Final = "open"
COMPLETING: Final = "completing"
ABORTED: Final = "aborted"

_decode_upload = msgspec.msgpack.Decoder(UploadHead).decode
_decode_part = msgspec.msgpack.Decoder(PartHead).decode


class _Completion(msgspec.Struct, frozen=True, array_like=True):
    """What a completing upload's row carries: the object's row to be.

    version: for a plain completion; a conditional one has b"".
    """

    version: bytes
    head: bytes
    manifest: bytes


_decode_completion = msgspec.msgpack.Decoder(_Completion).decode

Combine = Callable[[Sequence[PartHead]], dict[str, str]]


class _Found(NamedTuple):
    """An upload's row."""

    head: UploadHead
    row: Versioned


class Uploads:
    """Multipart uploads of containers."""

    def __init__(
        self,
        rows: Rows,
        object_rows: ObjectRows,
        objects: Objects,
        blobs: Blobs,
        scan: ShardScan,
        tasks: TaskOwner,
        part_min_bytes: int = PART_MIN_BYTES,
    ) -> None:
        self._rows = rows
        self._object_rows = object_rows
        self._objects = objects
        self._blobs = blobs
        self._scan = scan
        self._tasks = tasks
        self._part_min_bytes = part_min_bytes

    # -- the upload's row --

    async def create(
        self,
        container: Container,
        name: str,
        attributes: ObjectAttributes,
        *,
        owner: str,
        checksum_algorithm: str,
        checksum_type: str,
    ) -> UploadHead:
        """See `Store.create_upload`."""
        object_name(name)
        check_attributes(attributes)
        now_ns = self._object_rows.now_ns()
        head = UploadHead(
            id=f"{now_ns:016x}{self._object_rows.nonce().hex()}",
            object_name=name,
            started_ns=now_ns,
            policy=container.head.policy,
            attributes=attributes,
            owner=owner,
            checksum_algorithm=checksum_algorithm,
            checksum_type=checksum_type,
        )
        value = Value(int(RowFlag.UNCOUNTED), 0, encode(head), b"")

        async def write(living: Container) -> bytes:
            shard = uploads_shard(living.head.id)
            return await self._rows.write(shard, upload_name(name, head.id), value)

        await self._object_rows.in_living(container, write)
        return head

    async def get(self, container: Container, name: str, upload_id: str) -> UploadHead:
        """The open upload. Raises NoSuchUpload."""
        found = await self._find(container, name, upload_id)
        if found.head.state != OPEN:
            raise NoSuchUpload(upload_id)
        return found.head

    async def _find(self, container: Container, name: str, upload_id: str) -> _Found:
        object_name(name)
        shard = uploads_shard(container.head.id)
        try:
            row = await self._rows.read(shard, upload_name(name, upload_id))
        except SealedShard:
            row = None
        if row is None or not row.live:
            if row is None or row.sealed:
                await self._object_rows.renewed(container)
            raise NoSuchUpload(upload_id)
        return _Found(_decode_upload(row.value.head), row)

    async def _move(
        self, container: Container, found: _Found, state: str, payload: bytes = b""
    ) -> None:
        """Take the upload's row from what was found to `state`. Raises NoSuchUpload if it has moved."""
        head = msgspec.structs.replace(found.head, state=state, nonce=self._object_rows.nonce())
        value = Value(int(RowFlag.UNCOUNTED), 0, encode(head), payload)
        await self._replace(container, found, value)

    async def _remove(self, container: Container, found: _Found) -> None:
        with contextlib.suppress(NoSuchUpload):
            await self._replace(container, found, tombstone(self._object_rows.nonce()))

    async def _replace(self, container: Container, found: _Found, value: Value) -> None:
        expected = found.row.value

        def decide(row: Versioned) -> Value:
            if row.value != expected:
                raise NoSuchUpload(found.head.id)
            return value

        name = upload_name(found.head.object_name, found.head.id)
        try:
            await self._rows.update(uploads_shard(container.head.id), name, decide)
        except SealedShard as error:
            raise NoSuchUpload(found.head.id) from error

    # -- parts --

    async def put_part(
        self,
        container: Container,
        name: str,
        upload_id: str,
        number: int,
        body: Body,
        *,
        md5: str = "",
    ) -> PartHead:
        """See `Store.put_part`."""
        if not 1 <= number <= PART_NUMBER_MAX:
            raise InvalidPart(f"part numbers go from 1 to {PART_NUMBER_MAX}")
        upload = await self.get(container, name, upload_id)
        taken = await self._objects.take(container, name, upload.policy, body, md5, upload_id)
        part = Part(number, taken.size_bytes, taken.md5, taken.blobs, taken.data)
        head = PartHead(
            number,
            taken.size_bytes,
            taken.md5,
            self._object_rows.now_ns(),
            taken.checksums,
            taken.blobs,
        )
        manifest = Manifest([part])
        flags = manifest_flags(manifest)
        value = Value(flags, taken.size_bytes, encode(head), encode(manifest))
        try:
            await self._rows.write(parts_shard(upload_id), part_name(number), value)
        except Unavailable:
            raise  # it may have been written
        except StoreError:
            await self._objects.give_up(taken)
            raise
        await self._require_still_open(container, name, upload_id, number, value)
        return head

    async def _require_still_open(
        self, container: Container, name: str, upload_id: str, number: int, value: Value
    ) -> None:
        """A part that lost the race against an abort or a completion must not stay behind."""
        try:
            await self.get(container, name, upload_id)
        except NoSuchUpload:
            await self._drop_part(parts_shard(upload_id), number, value)
            raise

    async def _drop_part(self, shard: bytes, number: int, value: Value) -> None:
        def decide(row: Versioned) -> Value:
            if row.value != value:
                raise NoSuchUpload
            return tombstone(self._object_rows.nonce())

        with contextlib.suppress(NoSuchUpload):
            await self._rows.update(shard, part_name(number), decide)

    async def _parts(self, upload_id: str, after: int = 0, limit: int = 0) -> list[PartHead]:
        """Heads of the parts after a number, in order; limit 0: all."""
        shard = parts_shard(upload_id)
        found: list[PartHead] = []
        start, more = part_name(after + 1), True
        while more and (not limit or len(found) < limit):
            page = await self._scan.page(Scan(shard, start, b"", limit or PARTS_PAGE))
            found += [_decode_part(row.head) for row in page.rows]
            start, more = page.covered_to, page.covered_to != b""
        return found[:limit] if limit else found

    async def list_parts(
        self, container: Container, name: str, upload_id: str, after_number: int, limit: int
    ) -> PartPage:
        """See `Store.list_parts`."""
        upload = await self.get(container, name, upload_id)
        if limit <= 0:
            return PartPage(upload, [], after_number, truncated=False)
        parts = await self._parts(upload_id, after_number, limit + 1)
        more = len(parts) > limit
        shown = parts[:limit]
        return PartPage(upload, shown, shown[-1].number if shown else 0, truncated=more)

    async def list_uploads(
        self, container: Container, query: ListQuery, upload_marker: str
    ) -> UploadPage:
        """See `Store.list_uploads`."""

        def decode(row: ScannedRow) -> UploadInfo | None:
            head = _decode_upload(row.head)
            return UploadInfo(head) if head.state == OPEN else None

        if query.marker:
            last = upload_marker or "\U0010ffff"  # past every id of that object
            marker = query.marker + UPLOAD_SEPARATOR.decode() + last
            query = msgspec.structs.replace(query, marker=marker)
        shard = uploads_shard(container.head.id)
        listed: Listed[UploadInfo] = await list_rows(self._scan, [shard], query, decode)
        if listed.sealed:
            await self._object_rows.renewed(container)
        key, _, upload_id = listed.next_marker.partition(UPLOAD_SEPARATOR.decode())
        return UploadPage(listed.entries, key, upload_id, truncated=listed.next_marker != "")

    # -- the end of an upload --

    async def complete(
        self,
        container: Container,
        name: str,
        upload_id: str,
        parts: list[CompletedPart],
        *,
        conditions: Conditions = NO_CONDITIONS,
        combine: Combine | None = None,
        size_bytes: int | None = None,
    ) -> ObjectInfo:
        """See `Store.complete_upload`."""
        try:
            found = await self._find(container, name, upload_id)
        except NoSuchUpload:
            return await self._completed_before(container, name, parts)
        if found.head.state == COMPLETING:
            return await self._finish(container, found)
        if found.head.state != OPEN:
            raise NoSuchUpload(upload_id)
        held = {head.number: head for head in await self._parts(upload_id)}
        chosen = _choose(parts, held, self._part_min_bytes)
        total = sum(head.size_bytes for head in chosen)
        if total > OBJECT_MAX_BYTES:
            raise ObjectTooLarge(total, OBJECT_MAX_BYTES)
        if size_bytes is not None and size_bytes != total:
            raise InvalidPart(f"the parts have {total} bytes, not {size_bytes}")
        checksums = combine(chosen) if combine is not None else {}
        manifest = Manifest([await self._part(upload_id, head) for head in chosen])
        head = self._object_head(found.head, chosen, checksums)
        if any_condition(conditions):
            return await self._complete_if(container, found, head, manifest, conditions)
        version = await self._version_above(container, object_name(name))
        completion = _Completion(version, encode(head), encode(manifest))
        return await self._finish(container, await self._begin(container, found, completion))

    async def _completed_before(
        self, container: Container, name: str, parts: list[CompletedPart]
    ) -> ObjectInfo:
        """The answer to a repeated complete whose first answer was lost: the object stands."""
        try:
            info = await self._object_rows.head(container, name)
            stands = info.head.etag == multipart_etag([part.etag for part in parts])
        except (NoSuchObject, ValueError) as error:
            raise NoSuchUpload(name) from error
        if not stands:
            raise NoSuchUpload(name)
        return info

    async def _begin(self, container: Container, found: _Found, completion: _Completion) -> _Found:
        await self._move(container, found, COMPLETING, encode(completion))
        return await self._find(container, found.head.object_name, found.head.id)

    async def _part(self, upload_id: str, head: PartHead) -> Part:
        """The manifest's line of a part; an inline one has its bytes in its row."""
        if head.blobs or not head.size_bytes:
            return Part(head.number, head.size_bytes, head.etag, head.blobs, checksums=head.checksums)
        row = await self._rows.read(parts_shard(upload_id), part_name(head.number))
        part = decode_manifest(row.value.payload).parts[0] if row.live else None
        if part is None or part.etag != head.etag or part.size_bytes != head.size_bytes:
            raise InvalidPart(f"part {head.number} was replaced meanwhile")
        return msgspec.structs.replace(part, checksums=head.checksums)

    def _object_head(
        self, upload: UploadHead, chosen: list[PartHead], checksums: dict[str, str]
    ) -> ObjectHead:
        attributes = upload.attributes
        return ObjectHead(
            etag=multipart_etag([part.etag for part in chosen]),
            size_bytes=sum(part.size_bytes for part in chosen),
            modified_ns=self._object_rows.now_ns(),
            content_type=attributes.content_type,
            policy=upload.policy,
            headers=attributes.headers,
            meta=attributes.meta,
            checksums=checksums,
            checksum_type=upload.checksum_type if checksums else "",
            parts=len(chosen),
            delete_at_s=attributes.delete_at_s,
        )

    async def _finish(self, container: Container, found: _Found) -> ObjectInfo:
        """Carry a completing upload to its end, whoever began that."""
        completion = _decode_completion(found.row.value.payload)
        head = decode_head(completion.head)
        manifest = decode_manifest(completion.manifest)
        value = manifest_value(head, manifest)
        name = found.head.object_name
        raw = object_name(name)
        shard = self._object_rows.shard(container, raw)
        if not completion.version:
            return await self._finish_conditional(container, found, head, value)
        try:
            while not await self._write_as(shard, raw, value, completion.version):
                # The row is newer and never held this version: decide on a later one.
                completion = msgspec.structs.replace(completion, version=self._rows.new_version())
                found = await self._begin(container, found, completion)
        except SealedShard as error:
            await self._object_rows.renewed(container)
            raise Unavailable("the container is being deleted") from error
        await self._sweep(container, found, manifest)
        return ObjectInfo(name, head, completion.version)

    async def _version_above(self, container: Container, raw: bytes) -> bytes:
        """A version above all that was acknowledged of an object before: reading it tells the clock."""
        with contextlib.suppress(SealedShard):
            await self._rows.read(self._object_rows.shard(container, raw), raw, Want.VERSION)
        return self._rows.new_version()

    async def _write_as(self, shard: bytes, raw: bytes, value: Value, version: bytes) -> bool:
        """Like `Rows.write_as`, but also True where the object has gone on from `version`.

        Replicas remember a few versions only, so that a completion asked for again much later can't be
        told from one that never arrived. Both are the same to everyone: whatever is newer was not
        acknowledged before the completion began (see `_version_above`), and has replaced it.
        """
        try:
            return await self._rows.write_as(shard, raw, value, version)
        except Unavailable:
            row = await self._rows.read(shard, raw, Want.VERSION)
            if row.version <= version:
                raise
            return True

    async def _complete_if(
        self,
        container: Container,
        found: _Found,
        head: ObjectHead,
        manifest: Manifest,
        conditions: Conditions,
    ) -> ObjectInfo:
        """Complete under conditions: the object's row decides, and a refusal reopens the upload."""
        head = msgspec.structs.replace(head, nonce=self._object_rows.nonce())
        completion = _Completion(b"", encode(head), encode(manifest))
        found = await self._begin(container, found, completion)
        try:
            info = await self._object_rows.write(
                container,
                found.head.object_name,
                head,
                lambda final: manifest_value(final, manifest),
                conditions,
            )
        except Unavailable:
            raise  # it may have been written: `_finish_conditional` will tell
        except StoreError:
            await self._move(container, found, OPEN)
            raise
        await self._sweep(container, found, manifest)
        return info

    async def _finish_conditional(
        self, container: Container, found: _Found, head: ObjectHead, value: Value
    ) -> ObjectInfo:
        """Somebody's conditional completion, found half way: only its value in place is a success."""
        name = found.head.object_name
        raw = object_name(name)
        row = await self._rows.read(self._object_rows.shard(container, raw), raw)
        if row.value.head != value.head:
            raise Unavailable("another request is completing this upload")
        await self._sweep(container, found, decode_manifest(value.payload))
        return ObjectInfo(name, head, row.version)

    async def _sweep(self, container: Container, found: _Found, manifest: Manifest) -> None:
        """The object stands: let the upload go, and its parts' rows after it."""
        await self._remove(container, found)
        taken = {part.number for part in manifest.parts}
        self._tasks.spawn("sweep parts", self._drop_rows(found.head.id, taken))

    async def _drop_rows(self, upload_id: str, taken_over: set[int]) -> None:
        """Remove the rows of an ended upload's parts; those not taken over leave garbage."""
        shard = parts_shard(upload_id)
        limit = asyncio.Semaphore(SWEEP_CONCURRENCY_MAX)

        async def drop(head: PartHead) -> None:
            kept = RowFlag.TAKEN_OVER if head.number in taken_over else RowFlag.NONE
            gone = Value(int(RowFlag.TOMBSTONE | kept), 0, b"", b"")
            async with limit:
                await self._rows.write(shard, part_name(head.number), gone)

        await asyncio.gather(*map(drop, await self._parts(upload_id)))

    async def abort(self, container: Container, name: str, upload_id: str) -> None:
        """See `Store.abort_upload`."""
        found = await self._find(container, name, upload_id)
        if found.head.state == COMPLETING:
            raise NoSuchUpload(upload_id)
        if found.head.state == OPEN:
            await self._move(container, found, ABORTED)
            found = await self._find(container, name, upload_id)
        await self._drop_rows(upload_id, set())
        await self._remove(container, found)


def multipart_etag(etags: Sequence[str]) -> str:
    """S3's ETag of a multipart object: MD5 over its parts' MD5s, and their number."""
    joined = b"".join(map(bytes.fromhex, etags))
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(etags)}"


def _choose(
    parts: list[CompletedPart], held: dict[int, PartHead], part_min_bytes: int
) -> list[PartHead]:
    """The parts that a complete request names. Raises InvalidPart, InvalidPartOrder, PartTooSmall."""
    if not parts:
        raise InvalidPart("no parts are named")
    numbers = [part.number for part in parts]
    if any(low >= high for low, high in itertools.pairwise(numbers)):
        raise InvalidPartOrder
    chosen = []
    for part in parts:
        head = held.get(part.number)
        if head is None or head.etag != part.etag:
            raise InvalidPart(f"part {part.number}")
        for algorithm, checksum in part.checksums.items():
            if head.checksums.get(algorithm, checksum) != checksum:
                raise InvalidPart(f"part {part.number} has another {algorithm}")
        chosen.append(head)
    for head in chosen[:-1]:
        if head.size_bytes < part_min_bytes:
            raise PartTooSmall(head.number, head.size_bytes, part_min_bytes)
    return chosen
