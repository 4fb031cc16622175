"""The verbs on objects: put, open, head, update, copy, delete, list."""

from collections.abc import AsyncGenerator

import msgspec

from proxy.core.blobs import Blobs, Owner
from proxy.core.containers import Containers
from proxy.core.errors import NoSuchObject, ObjectTooLarge, StoreError, Unavailable
from proxy.core.intake import Intake, Taken
from proxy.core.listing import Listed, list_rows
from proxy.core.names import check_attributes, object_name
from proxy.core.object_rows import (
    ObjectRows,
    decode_head,
    decode_manifest,
    inline_value,
    manifest_value,
)
from proxy.core.opened import Opened, dynamic_info, dynamic_parts
from proxy.core.placement import Placement
from proxy.core.preconditions import check_copy_source
from proxy.core.register import Value, Versioned
from proxy.core.rows import SealedShard
from proxy.core.shard_scan import ShardScan
from proxy.core.types import (
    NO_CONDITIONS,
    OBJECT_MAX_BYTES,
    Body,
    Buffer,
    Conditions,
    Container,
    ListQuery,
    Manifest,
    ObjectAttributes,
    ObjectHead,
    ObjectInfo,
    ObjectPage,
    Part,
)
from storage.types import RowFlag, ScannedRow, Want


class StreamedBody:
    """A range of an opened object as the body of another write (copies)."""

    def __init__(self, opened: Opened, offset: int, length: int) -> None:
        self.size_bytes: int | None = length
        self._head = opened.info.head
        self._whole = length == self._head.size_bytes
        self._views: AsyncGenerator[memoryview, None] = opened.stream(offset, length)

    async def read(self) -> Buffer:
        """The next piece, b"" at the end."""
        return await anext(self._views, b"")

    async def read_all(self) -> bytes:
        """The whole range."""
        return b"".join([bytes(view) async for view in self._views])

    def finish(self) -> dict[str, str]:
        """The source's checksums, where they are those of all its bytes."""
        full = self._whole and self._head.checksum_type == "FULL_OBJECT"
        return self._head.checksums if full else {}

    async def aclose(self) -> None:
        """Stop reading."""
        await self._views.aclose()


def head_kind(old: str, asked: str) -> str:
    """What an object is after its metadata were replaced: a static manifest stays one, for its row
    holds references; a dynamic one is what the writer says each time (Swift's POST)."""
    return old if old == "slo" else asked


class Objects:
    """Objects of containers."""

    def __init__(
        self,
        rows: ObjectRows,
        containers: Containers,
        blobs: Blobs,
        placement: Placement,
        scan: ShardScan,
    ) -> None:
        self._rows = rows
        self._containers = containers
        self._blobs = blobs
        self._intake = Intake(blobs)
        self._placement = placement
        self._scan = scan

    # -- writing --

    async def take(
        self, container: Container, name: str, policy: str, body: Body, md5: str, upload: str = ""
    ) -> Taken:
        """Take a body in for an object, or for a part of its upload."""
        raw = object_name(name)
        owner = Owner(self._rows.shard(container, raw), raw, upload.encode())
        return await self._intake.take(body, self._placement.policy(policy), owner, md5)

    async def give_up(self, taken: Taken) -> None:
        """Remove the blobs of a body whose row was surely not written."""
        await self._blobs.try_delete(taken.blobs)

    async def put(
        self,
        container: Container,
        name: str,
        body: Body,
        attributes: ObjectAttributes,
        *,
        conditions: Conditions = NO_CONDITIONS,
        md5: str = "",
        checksum_type: str = "",
    ) -> ObjectInfo:
        """See `Store.put_object`."""
        check_attributes(attributes)
        taken = await self.take(container, name, container.head.policy, body, md5)
        head = ObjectHead(
            etag=taken.md5,
            size_bytes=taken.size_bytes,
            modified_ns=self._rows.now_ns(),
            content_type=attributes.content_type,
            policy=container.head.policy,
            headers=attributes.headers,
            meta=attributes.meta,
            checksums=taken.checksums,
            checksum_type=checksum_type if taken.checksums else "",
            delete_at_s=attributes.delete_at_s,
            kind=attributes.kind,
        )

        def make(final: ObjectHead) -> Value:
            if not taken.blobs:
                return inline_value(final, taken.data)
            part = Part(1, taken.size_bytes, taken.md5, taken.blobs)
            return manifest_value(final, Manifest([part]))

        try:
            info = await self._rows.write(container, name, head, make, conditions)
        except Unavailable:
            raise  # the row may have been written: its blobs must stay
        except StoreError:
            await self.give_up(taken)
            raise
        if taken.blobs:
            await self._rows.note_policy(container, container.head.policy)
        return info

    async def put_manifest(
        self,
        container: Container,
        name: str,
        parts: list[Part],
        attributes: ObjectAttributes,
        *,
        etag: str,
        manifest_etag: str = "",
        conditions: Conditions = NO_CONDITIONS,
    ) -> ObjectInfo:
        """See `Store.put_manifest`."""
        check_attributes(attributes)
        size_bytes = sum(part.size_bytes for part in parts)
        if size_bytes > OBJECT_MAX_BYTES:
            raise ObjectTooLarge(size_bytes, OBJECT_MAX_BYTES)
        head = ObjectHead(
            etag=etag,
            size_bytes=size_bytes,
            modified_ns=self._rows.now_ns(),
            content_type=attributes.content_type,
            policy=container.head.policy,
            headers=attributes.headers,
            meta=attributes.meta,
            parts=len(parts),
            delete_at_s=attributes.delete_at_s,
            kind="slo",
            manifest_etag=manifest_etag,
        )
        manifest = Manifest(parts)
        return await self._rows.write(
            container, name, head, lambda final: manifest_value(final, manifest), conditions
        )

    async def update(self, container: Container, name: str, attributes: ObjectAttributes) -> ObjectInfo:
        """See `Store.update_object`."""
        check_attributes(attributes)
        nonce = self._rows.nonce()
        made: list[ObjectHead] = []

        def decide(row: Versioned) -> Value:
            if not row.live:
                raise NoSuchObject(name)
            head = msgspec.structs.replace(
                self._rows.info(name, row).head,
                modified_ns=self._rows.now_ns(),
                content_type=attributes.content_type or decode_head(row.value.head).content_type,
                headers=attributes.headers,
                meta=attributes.meta,
                delete_at_s=attributes.delete_at_s,
                kind=head_kind(self._rows.info(name, row).head.kind, attributes.kind),
                nonce=nonce,
            )
            made.append(head)
            return row.value._replace(head=msgspec.msgpack.encode(head))

        version = await self._rows.update(container, name, decide)
        return ObjectInfo(name, made[-1], version)

    async def copy(
        self,
        source: Container,
        source_name: str,
        target: Container,
        target_name: str,
        attributes: ObjectAttributes | None,
        *,
        source_conditions: Conditions = NO_CONDITIONS,
        conditions: Conditions = NO_CONDITIONS,
    ) -> ObjectInfo:
        """See `Store.copy_object`."""
        opened = await self.open(source, source_name)
        try:
            head = opened.info.head
            check_copy_source(source_conditions, head)
            kept = ObjectAttributes(head.content_type, head.headers, head.meta, head.delete_at_s)
            body = StreamedBody(opened, 0, head.size_bytes)
            try:
                return await self.put(
                    target,
                    target_name,
                    body,
                    kept if attributes is None else attributes,
                    conditions=conditions,
                    checksum_type=head.checksum_type,
                )
            finally:
                await body.aclose()
        finally:
            opened.close()

    async def delete(
        self, container: Container, name: str, *, conditions: Conditions = NO_CONDITIONS
    ) -> None:
        """See `Store.delete_object`."""
        await self._rows.delete(container, name, conditions)

    async def delete_existing(self, container: Container, name: str) -> ObjectInfo:
        """See `Store.delete_existing`."""
        return await self._rows.delete_existing(container, name)

    # -- reading --

    async def container(self, account: str, name: str) -> Container:
        """For references in manifests."""
        return await self._containers.get(account, name)

    async def head(self, container: Container, name: str) -> ObjectInfo:
        """See `Store.head_object`."""
        info = await self._rows.head(container, name)
        if info.head.kind != "dlo":
            return info
        return dynamic_info(info, await self._dynamic(container, info))

    async def _dynamic(self, container: Container, info: ObjectInfo) -> list[Part]:
        target = info.head.headers.get("x-object-manifest", "")
        return await dynamic_parts(self, container.account, target)

    async def open(
        self, container: Container, name: str, depth: int = 0, *, raw: bool = False
    ) -> Opened:
        """See `Store.open_object`."""
        row = await self._rows.read_living(container, name, Want.PAYLOAD)
        info = self._rows.info(name, row)
        if info.head.kind == "dlo" and not raw:
            parts = await self._dynamic(container, info)
            return self._opened(container, dynamic_info(info, parts), None, parts, depth)
        payload = row.value.payload
        if row.value.flags & RowFlag.MANIFEST:
            return self._opened(container, info, None, decode_manifest(payload).parts, depth)
        return self._opened(container, info, payload, [], depth)

    def _opened(
        self,
        container: Container,
        info: ObjectInfo,
        inline: bytes | None,
        parts: list[Part],
        depth: int,
    ) -> Opened:
        return Opened(container.account, info, inline, parts, self._blobs, self, depth)

    async def list_objects(self, container: Container, query: ListQuery) -> ObjectPage:
        """See `Store.list_objects`."""

        def decode(row: ScannedRow) -> ObjectInfo | None:
            head = decode_head(row.head)
            if head.delete_at_s and self._rows.expired(head):
                return None
            return ObjectInfo(row.name.decode(), head, row.version)

        async def page(living: Container) -> ObjectPage:
            async def successors(shard: bytes) -> list[bytes]:
                present = await self._rows.renewed(living)
                if present.head.id != living.head.id:
                    raise SealedShard
                return present.head.layout.successors(shard)

            shards = living.head.layout.all_shards()
            listed: Listed[ObjectInfo] = await list_rows(
                self._scan, shards, query, decode, successors=successors
            )
            if listed.sealed:
                present = await self._rows.renewed(living)
                if present.head.id != living.head.id:
                    return await page(present)
            return ObjectPage(listed.entries, listed.next_marker)

        return await self._rows.in_living(container, page)
