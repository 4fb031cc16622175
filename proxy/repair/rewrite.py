"""Rewriting one object's blobs to another storage policy, a few at a time, while it is used.

The new blobs are durable before the row names them, and the row changes only if it still is the one
that was read; all else of it stays: etag, metadata, modification time, the stamp of its version. Every
blob in a manifest names its own policy, so an object that is half way there reads as it always did. The
old blobs are garbage as those of an overwritten object: the collector removes them after the grace.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import msgspec

from proxy.core.blobs import Blobs, Owner
from proxy.core.errors import Damaged, ObjectTooLarge, Unavailable
from proxy.core.object_rows import decode_head, decode_manifest, manifest_value
from proxy.core.register import Sent, Value, Versioned
from proxy.core.resharding import ContainerRow, Resharding
from proxy.core.rows import Rows, SealedShard
from proxy.core.types import Blob, Manifest, Part, Policy
from runtime.randomness import Randomness
from storage.types import SEGMENT_BYTES, STAMP_BYTES, RowFlag

BLOBS_PER_STEP: Final = 4
"""Blobs that are rewritten before the row names them: 256 MiB that a killed worker does in vain."""

SEALED_ATTEMPTS: Final = 100
SEALED_WAIT_S: Final = 0.05

_MD5_HEX: Final = 32

Spend = Callable[[int], Awaitable[None]]
"""Rests as so many copied bytes ask for."""


class Rewritten(NamedTuple):
    """What a step has done. over: all blobs of the object have the policy, or it is gone."""

    over: bool
    size_bytes: int = 0


class _Changed(Exception):
    """The row is no longer the one that was read."""


class _Step(NamedTuple):
    """parts: as the row will name them. made: the new blobs. left: whether there is more to do."""

    parts: list[Part]
    made: list[Blob]
    left: bool


class Rewriter:
    """Rewrites objects of containers whose accounts need not be known."""

    def __init__(
        self, rows: Rows, containers: Resharding, blobs: Blobs, randomness: Randomness
    ) -> None:
        self._rows = rows
        self._containers = containers
        self._blobs = blobs
        self._randomness = randomness

    async def step(
        self, container: ContainerRow, name: bytes, policy: Policy, spend: Spend
    ) -> Rewritten:
        """Rewrite an object's next few blobs. Raises Damaged, Unavailable, Full, ObjectTooLarge."""
        shard, row = await self._read(container, name)
        if not row.live or not row.value.flags & RowFlag.BLOBS:
            return Rewritten(over=True)
        parts = decode_manifest(row.value.payload).parts
        if all(blob.policy == policy.name for part in parts for blob in part.blobs):
            return Rewritten(over=True)
        step = await self._rewritten(parts, policy, Owner(shard, name), spend)
        try:
            value = self._value(row, step, policy)
            await self._replace(container, name, row, value)
        except _Changed:
            await self._blobs.try_delete(step.made)
            return Rewritten(over=False)
        except ObjectTooLarge:
            await self._blobs.try_delete(step.made)
            raise
        return Rewritten(not step.left, sum(blob.size_bytes for blob in step.made))

    async def _read(self, container: ContainerRow, name: bytes) -> tuple[bytes, Versioned]:
        """The object's row, and the shard that it is in."""
        for _ in range(SEALED_ATTEMPTS):
            head = await self._containers.read(container)
            shard = head.layout.shard_of(name)
            try:
                row = await self._rows.read(shard, name)
            except SealedShard:
                await asyncio.sleep(SEALED_WAIT_S)
                continue
            if not row.sealed:
                return shard, row
            if (await self._containers.read(container)).layout.shard_of(name) == shard:
                return shard, row
        raise Unavailable("the object's shard is sealed")

    def _value(self, row: Versioned, step: _Step, policy: Policy) -> Value:
        head = decode_head(row.value.head)
        head = msgspec.structs.replace(
            head,
            policy=head.policy if step.left else policy.name,
            nonce=self._randomness.token(16),
        )
        return manifest_value(head, Manifest(step.parts))

    async def _replace(
        self, container: ContainerRow, name: bytes, seen: Versioned, value: Value
    ) -> None:
        """Put `value` in the place of just what was seen. Raises _Changed, Unavailable."""
        sent: Sent | None = None

        def decide(row: Versioned) -> Value:
            same_stamp = row.version[:STAMP_BYTES] == seen.version[:STAMP_BYTES]
            if not same_stamp or row.value != seen.value:
                raise _Changed
            return value

        for _ in range(SEALED_ATTEMPTS):
            shard = (await self._containers.read(container)).layout.shard_of(name)
            try:
                await self._rows.update(shard, name, decide, sent)
            except SealedShard as sealed:
                sent = sealed.sent
                await asyncio.sleep(SEALED_WAIT_S)
                continue
            return
        raise Unavailable("the object's shard is sealed")

    # -- blobs ----------------------------------------------------------------------------------

    async def _rewritten(self, parts: list[Part], policy: Policy, owner: Owner, spend: Spend) -> _Step:
        step = _Step([], [], left=False)
        left = False
        try:
            for part in parts:
                room = BLOBS_PER_STEP - len(step.made)
                todo = [blob for blob in part.blobs if blob.policy != policy.name]
                left = left or len(todo) > room
                step.parts.append(await self._part(part, todo[:room], policy, owner, step.made, spend))
        except BaseException:
            await self._blobs.try_delete(step.made)
            raise
        return step._replace(left=left)

    async def _part(
        self,
        part: Part,
        todo: list[Blob],
        policy: Policy,
        owner: Owner,
        made: list[Blob],
        spend: Spend,
    ) -> Part:
        """The part with some of its blobs made anew. Where these are all, its MD5 is checked, too."""
        if not todo:
            return part
        digest = hashlib.md5(usedforsecurity=False)
        renewed: dict[bytes, Blob] = {}
        for blob in todo:
            renewed[blob.id] = await self._blob(blob, policy, owner, made, digest, spend)
        whole = len(todo) == len(part.blobs) and len(part.etag) == _MD5_HEX
        if whole and digest.hexdigest() != part.etag:
            raise Damaged("the bytes are not those of the part's MD5")
        return msgspec.structs.replace(part, blobs=[renewed.get(b.id, b) for b in part.blobs])

    async def _blob(
        self,
        blob: Blob,
        policy: Policy,
        owner: Owner,
        made: list[Blob],
        digest: "hashlib._Hash",
        spend: Spend,
    ) -> Blob:
        """Copy a blob; every byte is verified when it is read, and durable when this returns."""
        source = self._blobs.source(blob)
        try:
            sink = await self._blobs.sink(policy, owner)
            made.append(Blob(sink.blob_id, blob.size_bytes, policy.name))
            try:
                for at in range(0, blob.size_bytes, SEGMENT_BYTES):
                    size = min(SEGMENT_BYTES, blob.size_bytes - at)
                    segment = b"".join(await source.read(at, size))
                    loop = asyncio.get_running_loop()
                    await loop.run_in_executor(None, digest.update, segment)
                    await sink.write(segment)
                    await spend(size)
                await sink.commit()
            except BaseException:
                await sink.abort()
                raise
        finally:
            source.close()
        self._blobs.report_missing(sink)
        return made[-1]
