"""Multipart uploads while they are open: begun, given parts, listed. How they end is `upload_ends.py`.

Uploads are rows that own blobs until one head row takes them over; no byte is copied.
"""

import contextlib
from typing import Final

import msgspec

from proxy.core.errors import (
    Full,
    InvalidPart,
    NoSuchContainer,
    NoSuchUpload,
    StoreError,
    Unavailable,
)
from proxy.core.listing import Listed, list_rows
from proxy.core.names import check_attributes, object_name
from proxy.core.object_rows import ObjectRows, encode, manifest_flags
from proxy.core.objects import Objects
from proxy.core.register import Value
from proxy.core.shard_scan import ShardScan
from proxy.core.shards import UPLOAD_SEPARATOR, uploads_shard
from proxy.core.types import (
    PART_NUMBER_MAX,
    Body,
    Container,
    ListQuery,
    Manifest,
    ObjectAttributes,
    Part,
    PartHead,
    PartPage,
    UploadHead,
    UploadInfo,
    UploadPage,
)
from proxy.core.upload_rows import UploadRows
from storage.types import ScannedRow

_PAST_ALL_IDS: Final = "\U0010ffff"

_decode_upload = msgspec.msgpack.Decoder(UploadHead).decode


class Uploads:
    """Open multipart uploads of containers."""

    def __init__(
        self, uploads: UploadRows, object_rows: ObjectRows, objects: Objects, scan: ShardScan
    ) -> None:
        self._uploads = uploads
        self._object_rows = object_rows
        self._objects = objects
        self._scan = scan

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
            id=self._uploads.new_id(now_ns),
            object_name=name,
            started_ns=now_ns,
            policy=container.head.policy,
            attributes=attributes,
            owner=owner,
            checksum_algorithm=checksum_algorithm,
            checksum_type=checksum_type,
        )
        await self._uploads.create(container, head)
        return head

    async def get(self, container: Container, name: str, upload_id: str) -> UploadHead:
        """See `Store.upload`."""
        found = await self._uploads.find(container, name, upload_id)
        if not found.open:
            raise NoSuchUpload(upload_id)
        return found.head

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
        found = await self._uploads.find(container, name, upload_id)
        if not found.open:
            raise NoSuchUpload(upload_id)
        taken = await self._objects.take(found.container, name, found.head.policy, body, md5, upload_id)
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
            await self._uploads.write_part(upload_id, number, value)
        except Unavailable:
            raise  # it may have been written
        except StoreError:
            await self._objects.give_up(taken)
            raise
        await self._require_still_open(found.container, name, upload_id, number, value)
        return head

    async def _require_still_open(
        self, container: Container, name: str, upload_id: str, number: int, value: Value
    ) -> None:
        """A part that lost the race against an abort or a completion must not stay behind."""
        try:
            await self.get(container, name, upload_id)
        except (NoSuchUpload, NoSuchContainer):
            with contextlib.suppress(Unavailable, Full):  # then the collector finds it
                await self._uploads.drop_part(upload_id, number, value)
            raise

    async def list_parts(
        self, container: Container, name: str, upload_id: str, after_number: int, limit: int
    ) -> PartPage:
        """See `Store.list_parts`."""
        upload = await self.get(container, name, upload_id)
        if limit <= 0:
            return PartPage(upload, [], after_number, truncated=False)
        parts = await self._uploads.parts(upload_id, max(0, after_number), limit + 1)
        more = len(parts) > limit
        shown = parts[:limit]
        return PartPage(upload, shown, shown[-1].number if shown else 0, truncated=more)

    # -- uploads --

    async def list_uploads(
        self, container: Container, query: ListQuery, upload_marker: str
    ) -> UploadPage:
        """See `Store.list_uploads`. One whose end was begun is under way, too: who sees it ends it."""
        separator = UPLOAD_SEPARATOR.decode()
        if query.marker:
            marker = query.marker + separator + (upload_marker or _PAST_ALL_IDS)
            query = msgspec.structs.replace(query, marker=marker)

        def decode(row: ScannedRow) -> UploadInfo:
            return UploadInfo(_decode_upload(row.head))

        async def page(living: Container) -> UploadPage:
            listed: Listed[UploadInfo] = await list_rows(
                self._scan,
                [uploads_shard(living.head.id)],
                query,
                decode,
                rolled_before=UPLOAD_SEPARATOR,
            )
            if listed.sealed:
                present = await self._object_rows.renewed(living)
                if present.head.id != living.head.id:
                    return await page(present)
            key, _, upload_id = listed.next_marker.partition(separator)
            return UploadPage(listed.entries, key, upload_id, truncated=listed.next_marker != "")

        return await self._object_rows.in_living(container, page)
