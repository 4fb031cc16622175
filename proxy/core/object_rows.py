"""Objects' rows: encoding, and reading and writing them in the right shard of a living container.

Cached containers may be stale: a seal tells, and `living.py` goes on from there.
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from proxy.core.containers import Containers
from proxy.core.errors import NoSuchObject, ObjectTooLarge, StoreError
from proxy.core.living import Living
from proxy.core.names import object_name
from proxy.core.preconditions import any_condition, check_write
from proxy.core.register import Decide, Sent, Value, Versioned, tombstone
from proxy.core.rows import Rows, SealedShard
from proxy.core.seals import Superseded
from proxy.core.types import Conditions, Container, Manifest, ObjectHead, ObjectInfo
from runtime.clock import Clock
from runtime.randomness import Randomness
from storage.types import ROW_PAYLOAD_MAX_BYTES, RowFlag, Want

T = TypeVar("T")

encode = msgspec.msgpack.Encoder().encode
decode_head = msgspec.msgpack.Decoder(ObjectHead).decode
decode_manifest = msgspec.msgpack.Decoder(Manifest).decode


def inline_value(head: ObjectHead, data: bytes) -> Value:
    """The row of a small object."""
    return Value(0, head.size_bytes, encode(head), data)


def manifest_value(head: ObjectHead, manifest: Manifest) -> Value:
    """The row of an object with a manifest. Raises ObjectTooLarge where it has too many parts."""
    payload = encode(manifest)
    if len(payload) > ROW_PAYLOAD_MAX_BYTES:
        raise ObjectTooLarge(len(payload), ROW_PAYLOAD_MAX_BYTES)
    return Value(manifest_flags(manifest), head.size_bytes, encode(head), payload)


def manifest_flags(manifest: Manifest) -> int:
    """MANIFEST, and BLOBS where replacing the row leaves garbage."""
    owns = any(part.blobs for part in manifest.parts)
    return int(RowFlag.MANIFEST | RowFlag.BLOBS if owns else RowFlag.MANIFEST)


def _owns(value: Value) -> bool:
    return bool(value.flags & RowFlag.BLOBS)


class ObjectRows:
    """Rows of objects, found by container and name."""

    def __init__(
        self, rows: Rows, containers: Containers, clock: Clock, randomness: Randomness
    ) -> None:
        self._rows = rows
        self._containers = containers
        self._living = Living(containers, clock, randomness)
        self._clock = clock
        self._randomness = randomness

    def expired(self, head: ObjectHead) -> bool:
        """Whether the object's time is over: it is then as if deleted."""
        return head.delete_at_s != 0 and head.delete_at_s <= self._clock.now_ns() // 10**9

    def now_ns(self) -> int:
        """The time to put into heads."""
        return self._clock.now_ns()

    def nonce(self) -> bytes:
        """Makes a conditional write's value its own."""
        return self._randomness.token(16)

    async def in_living(
        self,
        container: Container,
        act: Callable[[Container], Awaitable[T]],
        *,
        pinned: bool = False,
    ) -> T:
        """See `Living.on`."""
        return await self._living.on(container, act, pinned=pinned)

    async def renewed(self, container: Container) -> Container:
        """The container as its row says now. Raises NoSuchContainer."""
        return await self._living.renewed(container)

    async def note_policy(self, container: Container, policy: str) -> None:
        """Blobs of `policy` were written: where the container has another one by now, have it noted."""
        with contextlib.suppress(StoreError, Superseded):  # the object stands without it
            present = await self._containers.get(container.account, container.name)
            if present.head.policy != policy:
                await self._containers.wants_repolicy(present)

    def shard(self, container: Container, raw: bytes) -> bytes:
        """The shard of an object's row."""
        return container.head.layout.shard_of(raw)

    async def look(self, container: Container, name: str, want: int) -> Versioned:
        """The object's row, whether it is there or not, in the shard where it is now.

        A sealed shard's rows may have moved on. Where the container's row, asked afterwards, still
        names that shard, they had not when the row was read. Raises SealedShard, NoSuchContainer.
        """
        raw = object_name(name)
        shard = self.shard(container, raw)
        row = await self._rows.read(shard, raw, want)
        if row.sealed:
            present = await self._containers.present(container.account, container.name)
            if self.shard(present, raw) != shard:
                return await self.look(present, name, want)
        return row

    async def read_living(self, container: Container, name: str, want: int) -> Versioned:
        """The object's row, live, wherever it is now. Raises NoSuchObject, NoSuchContainer."""
        try:
            row = await self.look(container, name, want)
        except SealedShard:
            row = await self.in_living(container, lambda c: self.look(c, name, want))
        if not row.live:
            raise NoSuchObject(name)
        return row

    async def head(self, container: Container, name: str) -> ObjectInfo:
        """The object's head. Raises NoSuchObject, NoSuchContainer."""
        row = await self.read_living(container, name, Want.HEAD)
        return self.info(name, row)

    def info(self, name: str, row: Versioned) -> ObjectInfo:
        """What a live row says. Raises NoSuchObject where its time is over."""
        head = decode_head(row.value.head)
        if head.delete_at_s and self.expired(head):
            raise NoSuchObject(name)
        return ObjectInfo(name, head, row.version)

    async def write(
        self,
        container: Container,
        name: str,
        head: ObjectHead,
        make: Callable[[ObjectHead], Value],
        conditions: Conditions,
    ) -> ObjectInfo:
        """Write an object's row: plainly, or under conditions. Raises as check_write does."""
        if not any_condition(conditions):
            value = make(head)
            version = await self.write_plainly(container, name, value)
            return ObjectInfo(name, head, version)
        head = msgspec.structs.replace(head, nonce=self._randomness.token(16))
        version = await self.write_if(container, name, make(head), conditions)
        return ObjectInfo(name, head, version)

    async def write_if(
        self, container: Container, name: str, value: Value, conditions: Conditions
    ) -> bytes:
        """Write the object's row, whose head has a nonce, under conditions; its version."""

        def decide(row: Versioned) -> Value:
            check_write(conditions, self._present(row))
            return value

        return await self.update(container, name, decide, pinned=_owns(value))

    async def write_plainly(self, container: Container, name: str, value: Value) -> bytes:
        """A plain write of the object's row; its version."""
        raw = object_name(name)
        tried: dict[bytes, bytes] = {}  # version by container id

        async def write(living: Container) -> bytes:
            try:
                version = tried.get(living.head.id, b"")
                return await self._rows.write(self.shard(living, raw), raw, value, version)
            except SealedShard as sealed:
                tried[living.head.id] = sealed.version
                raise

        return await self.in_living(container, write, pinned=_owns(value))

    def _present(self, row: Versioned) -> ObjectHead | None:
        if not row.live:
            return None
        head = decode_head(row.value.head)
        return None if self.expired(head) else head

    async def update(
        self, container: Container, name: str, decide: Decide, *, pinned: bool = False
    ) -> bytes:
        """A conditional write of the object's row; the new version."""
        raw = object_name(name)
        before: dict[bytes, Sent | None] = {}  # by container id

        async def update(living: Container) -> bytes:
            try:
                sent = before.get(living.head.id)
                return await self._rows.update(self.shard(living, raw), raw, decide, sent)
            except SealedShard as sealed:
                before[living.head.id] = sealed.sent
                raise

        return await self.in_living(container, update, pinned=pinned)

    async def delete(self, container: Container, name: str, conditions: Conditions) -> None:
        """Delete; absent is success without conditions."""
        if any_condition(conditions):
            await self._delete_if(container, name, conditions)
        else:
            await self.write_plainly(container, name, tombstone())

    async def _delete_if(self, container: Container, name: str, conditions: Conditions) -> None:
        value = tombstone(self._randomness.token(16))

        def decide(row: Versioned) -> Value:
            head = self._present(row)
            if head is None:
                raise NoSuchObject(name)
            check_write(conditions, head)
            return value

        await self.update(container, name, decide)

    async def delete_existing(self, container: Container, name: str) -> ObjectInfo:
        """Delete what is there and tell what it was. Raises NoSuchObject."""
        value = tombstone(self._randomness.token(16))
        seen: list[ObjectInfo] = []

        def decide(row: Versioned) -> Value:
            if not row.live:
                raise NoSuchObject(name)
            seen.append(self.info(name, row))
            return value

        await self.update(container, name, decide)
        return seen[-1]
