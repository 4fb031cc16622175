"""How multipart uploads end: completed or aborted.

The upload's row decides (`upload_rows.py`). A completion first makes the parts stand still: from then
on the collector leaves what they name alone, also where a part is replaced. Then it decides, in that
row, under which version the object's row gets which value, and whoever finds it half way finishes it:
writing the same value under the same version again is harmless, whatever was written since.

A conditional completion cannot be repeated so, because its version is not known beforehand; half way,
only its own value in place says that it happened. One that has had all the time that it can take is
given up and may be asked for again.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from proxy.core.errors import (
    Full,
    InvalidPart,
    InvalidPartOrder,
    NoSuchContainer,
    NoSuchObject,
    NoSuchUpload,
    ObjectTooLarge,
    PartTooSmall,
    StoreError,
    Unavailable,
)
from proxy.core.names import object_name
from proxy.core.object_rows import (
    ObjectRows,
    decode_head,
    decode_manifest,
    encode,
    manifest_value,
)
from proxy.core.preconditions import any_condition
from proxy.core.register import Value
from proxy.core.rows import Rows
from proxy.core.types import (
    NO_CONDITIONS,
    OBJECT_MAX_BYTES,
    PART_MIN_BYTES,
    CompletedPart,
    Conditions,
    Container,
    Manifest,
    ObjectHead,
    ObjectInfo,
    Part,
    PartHead,
    UploadHead,
)
from proxy.core.upload_rows import ABORTED, COMPLETING, OPEN, FoundUpload, Moved, UploadRows
from runtime.tasks import TaskOwner
from storage.types import ROW_PAYLOAD_MAX_BYTES, Want

WAIT_S: Final = 0.05
WAITS_MAX: Final = 20
"""How often another request's completion is waited for before it is taken over, or given up on."""

STEPS_MAX: Final = 200
"""How often all in all an upload that others work on is looked at."""

CONDITIONAL_MAX_S: Final = 60.0
"""The conditional write of a completed object takes no longer."""

REOPEN_AFTER_S: Final = 600.0
"""A conditional completion this old is over: no message of it is still on its way, and clocks do not
differ by that much."""

Combine = Callable[[Sequence[PartHead]], dict[str, str]]


class _Completion(msgspec.Struct, frozen=True, array_like=True):
    """What a completing upload's row carries: the object's row to be.

    version: for a plain completion; a conditional one has b"". decided_ns: wall clock.
    """

    version: bytes
    head: bytes
    manifest: bytes
    decided_ns: int = 0


_decode_completion = msgspec.msgpack.Decoder(_Completion).decode


class _Asked(NamedTuple):
    """A request to complete an upload."""

    parts: list[CompletedPart]
    conditions: Conditions
    combine: Combine | None
    size_bytes: int | None


class UploadEnds:
    """Completes and aborts uploads."""

    def __init__(
        self,
        rows: Rows,
        object_rows: ObjectRows,
        uploads: UploadRows,
        tasks: TaskOwner,
        part_min_bytes: int = PART_MIN_BYTES,
    ) -> None:
        self._rows = rows
        self._object_rows = object_rows
        self._uploads = uploads
        self._tasks = tasks
        self._part_min_bytes = part_min_bytes

    # -- completing --

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
        asked = _Asked(parts, conditions, combine, size_bytes)
        nonce, waits = b"", 0
        for _ in range(STEPS_MAX):
            try:
                found = await self._uploads.find(container, name, upload_id)
            except NoSuchUpload:
                return await self._completed_before(container, name, parts)
            if found.head.nonce != nonce:
                nonce, waits = found.head.nonce, 0
            try:
                info = await self._step(found, asked, patient=waits < WAITS_MAX)
            except Moved:
                continue
            if info is not None:
                return _of_these_parts(info, parts, upload_id)
            waits += 1
            await asyncio.sleep(WAIT_S)
        raise Unavailable("other requests are ending this upload")

    async def _step(self, found: FoundUpload, asked: _Asked, *, patient: bool) -> ObjectInfo | None:
        """One step on; the object where that was the last one, None to wait for another request.

        Raises Moved where somebody else took a step.
        """
        if found.head.state == ABORTED:
            raise NoSuchUpload(found.head.id)
        if found.head.state == OPEN or (not found.decided and not patient):
            return await self._complete_open(found, asked)
        if not found.decided:
            return None
        completion = _decode_completion(found.row.value.payload)
        if completion.version:
            return await self._finish(found, completion)
        info = await self._conditional_in_place(found, completion)
        if info is not None or patient:
            return info
        await self._reopen_stale(found, completion)
        raise Moved

    async def _complete_open(self, found: FoundUpload, asked: _Asked) -> ObjectInfo:
        """Make the parts stand still, choose, decide, write."""
        _check_order(asked.parts)
        conditional = any_condition(asked.conditions)
        still = await self._uploads.move(found, COMPLETING)
        try:
            head, manifest = await self._choose(still.head, asked)
            if conditional:
                head = msgspec.structs.replace(head, nonce=self._object_rows.nonce())
            value = manifest_value(head, manifest)
            version = b"" if conditional else await self._version_above(still)
            now_ns = self._object_rows.now_ns()
            completion = _Completion(version, value.head, value.payload, now_ns)
            payload = encode(completion)
            if len(payload) > ROW_PAYLOAD_MAX_BYTES:
                raise ObjectTooLarge(len(payload), ROW_PAYLOAD_MAX_BYTES)
        except Exception:
            await self._try_reopen(still)
            raise
        decided = await self._uploads.move(still, COMPLETING, payload)
        if conditional:
            return await self._write_if(decided, head, manifest, value, asked.conditions)
        return await self._finish(decided, completion)

    async def _try_reopen(self, found: FoundUpload) -> None:
        """Where this fails, the next request for the upload goes on from what it finds."""
        with contextlib.suppress(Moved, Full, NoSuchContainer):
            await self._uploads.move(found, OPEN)

    async def _choose(self, upload: UploadHead, asked: _Asked) -> tuple[ObjectHead, Manifest]:
        """The object that the named parts make."""
        held = {head.number: head for head in await self._uploads.parts(upload.id)}
        chosen = _choose(asked.parts, held, self._part_min_bytes)
        total = sum(head.size_bytes for head in chosen)
        if total > OBJECT_MAX_BYTES:
            raise ObjectTooLarge(total, OBJECT_MAX_BYTES)
        if asked.size_bytes is not None and asked.size_bytes != total:
            raise InvalidPart(f"the parts have {total} bytes, not {asked.size_bytes}")
        checksums = asked.combine(chosen) if asked.combine is not None else {}
        manifest = Manifest([await self._part(upload.id, head) for head in chosen])
        return self._object_head(upload, chosen, checksums), manifest

    async def _part(self, upload_id: str, head: PartHead) -> Part:
        """The manifest's line of a part; an inline one has its bytes in its row."""
        if head.blobs or not head.size_bytes:
            return Part(head.number, head.size_bytes, head.etag, head.blobs, checksums=head.checksums)
        row = await self._uploads.read_part(upload_id, head.number)
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

    async def _completed_before(
        self, container: Container, name: str, parts: list[CompletedPart]
    ) -> ObjectInfo:
        """The answer to a repeated complete whose first answer was lost: the object stands."""
        try:
            info = await self._object_rows.head(container, name)
        except NoSuchObject as error:
            raise NoSuchUpload(name) from error
        return _of_these_parts(info, parts, name)

    # -- plain completions --

    async def _version_above(self, found: FoundUpload) -> bytes:
        """A version above all that was acknowledged of the object: reading it tells the clock."""
        name = found.head.object_name

        async def read(living: Container) -> None:
            await self._object_rows.look(living, name, Want.VERSION)

        await self._object_rows.in_living(found.container, read, pinned=True)
        return self._rows.new_version()

    async def _finish(self, found: FoundUpload, completion: _Completion) -> ObjectInfo:
        """Carry a decided completion to its end, whoever decided it. Raises Moved."""
        head = decode_head(completion.head)
        manifest = decode_manifest(completion.manifest)
        value = manifest_value(head, manifest)
        while not await self._write_as(found, value, completion.version):
            # The row is newer and never held this version: decide on a later one.
            completion = msgspec.structs.replace(completion, version=self._rows.new_version())
            found = await self._uploads.move(found, COMPLETING, encode(completion))
        await self._sweep(found, manifest)
        return ObjectInfo(found.head.object_name, head, completion.version)

    async def _write_as(self, found: FoundUpload, value: Value, version: bytes) -> bool:
        """Like `Rows.write_as`, but also True where the object has gone on from `version`.

        Replicas remember a few versions only, so that a completion asked for again much later can't be
        told from one that never arrived. Both are the same to everyone: whatever is newer was not
        acknowledged before the completion began (see `_version_above`), and has replaced it. Rows that
        have moved to another shard remember nothing.
        """
        raw = object_name(found.head.object_name)

        async def write(living: Container) -> bool:
            shard = self._object_rows.shard(living, raw)
            try:
                stored = await self._rows.write_as(shard, raw, value, version)
                return stored or living.head.layout.ever_moved
            except Unavailable:
                row = await self._rows.read(shard, raw, Want.VERSION)
                if row.version <= version:
                    raise
                return True

        return await self._object_rows.in_living(found.container, write, pinned=True)

    # -- conditional completions --

    async def _write_if(
        self,
        found: FoundUpload,
        head: ObjectHead,
        manifest: Manifest,
        value: Value,
        conditions: Conditions,
    ) -> ObjectInfo:
        """The object's row decides, and a refusal reopens the upload."""
        name = found.head.object_name
        try:
            async with asyncio.timeout(CONDITIONAL_MAX_S):
                version = await self._object_rows.write_if(found.container, name, value, conditions)
        except TimeoutError as error:
            raise Unavailable("the completion took too long") from error
        except Unavailable:
            raise  # it may have been written: `_conditional_in_place` will tell
        except StoreError:
            await self._try_reopen(found)
            raise
        await self._sweep(found, manifest)
        return ObjectInfo(name, head, version)

    async def _conditional_in_place(
        self, found: FoundUpload, completion: _Completion
    ) -> ObjectInfo | None:
        """The object of somebody's conditional completion, where its very value is in place."""
        name = found.head.object_name

        async def read(living: Container) -> ObjectInfo | None:
            row = await self._object_rows.look(living, name, Want.HEAD)
            if row.value.head != completion.head:
                return None
            return ObjectInfo(name, decode_head(completion.head), row.version)

        info = await self._object_rows.in_living(found.container, read, pinned=True)
        if info is not None:
            await self._sweep(found, decode_manifest(completion.manifest))
        return info

    async def _reopen_stale(self, found: FoundUpload, completion: _Completion) -> None:
        age_s = (self._object_rows.now_ns() - completion.decided_ns) / 1e9
        if age_s < REOPEN_AFTER_S:
            raise Unavailable("another request is completing this upload")
        await self._uploads.move(found, OPEN)

    # -- afterwards --

    async def _sweep(self, found: FoundUpload, manifest: Manifest) -> None:
        """The object stands: let the upload go, and its parts' rows after it. What fails now is done
        when the upload, which is still listed then, is completed or aborted again."""
        with contextlib.suppress(Moved, Full, NoSuchContainer):
            await self._uploads.remove(found)
        await self._object_rows.note_policy(found.container, found.head.policy)
        taken = {blob.id for part in manifest.parts for blob in part.blobs}
        self._tasks.spawn("sweep parts", self._drop_parts(found.head.id, taken))

    async def _drop_parts(self, upload_id: str, taken_over: set[bytes]) -> None:
        await self._uploads.drop_parts(upload_id, taken_over)

    # -- aborting --

    async def abort(self, container: Container, name: str, upload_id: str) -> None:
        """See `Store.abort_upload`. A completion that was decided is finished instead."""
        begun = False
        for _ in range(STEPS_MAX):
            try:
                found = await self._uploads.find(container, name, upload_id)
            except NoSuchUpload:
                if begun:
                    return
                raise
            try:
                if found.decided:
                    await self._end_decided(found)
                if found.head.state != ABORTED:
                    found = await self._uploads.move(found, ABORTED)
                begun = True
                await self._uploads.drop_parts(upload_id, set())
                await self._uploads.remove(found)
            except Moved:
                continue
            return
        raise Unavailable("other requests are ending this upload")

    async def _end_decided(self, found: FoundUpload) -> None:
        """Raises NoSuchUpload: it is completed; Moved: look again; Unavailable."""
        completion = _decode_completion(found.row.value.payload)
        if completion.version:
            await self._finish(found, completion)
            raise NoSuchUpload(found.head.id)
        if await self._conditional_in_place(found, completion) is not None:
            raise NoSuchUpload(found.head.id)
        await self._reopen_stale(found, completion)
        raise Moved


def multipart_etag(etags: Sequence[str]) -> str:
    """S3's ETag of a multipart object: MD5 over its parts' MD5s, and their number.

    Raises ValueError where one is not hexadecimal.
    """
    joined = b"".join(map(bytes.fromhex, etags))
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(etags)}"


def _of_these_parts(info: ObjectInfo, parts: list[CompletedPart], upload_id: str) -> ObjectInfo:
    """The object, where it is what a request asked to complete. Raises NoSuchUpload."""
    try:
        same = info.head.etag == multipart_etag([part.etag for part in parts])
    except ValueError:
        same = False
    if not same:
        raise NoSuchUpload(upload_id)
    return info


def _check_order(parts: list[CompletedPart]) -> None:
    """Raises InvalidPart, InvalidPartOrder."""
    if not parts:
        raise InvalidPart("no parts are named")
    if any(low.number >= high.number for low, high in itertools.pairwise(parts)):
        raise InvalidPartOrder


def _choose(
    parts: list[CompletedPart], held: dict[int, PartHead], part_min_bytes: int
) -> list[PartHead]:
    """The parts that a complete request names. Raises InvalidPart, PartTooSmall."""
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
