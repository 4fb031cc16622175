"""Makes blobs' sinks and sources on the devices of their policies, and removes blobs."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from proxy.core.blob_sink import BlobSink
from proxy.core.blob_source import BlobSource, ReportLost
from proxy.core.placement import Placement
from proxy.core.types import Blob, Policy
from runtime.clock import Clock
from runtime.randomness import Randomness
from storage.contract import DeviceClient, DeviceFault
from storage.types import BLOB_ID_BYTES, CHUNK_BYTES, SEGMENT_BYTES, BlobHeader, BlobName

BLOB_DEADLINE_S: Final = 60.0
"""Beginning and deleting a blob take no longer than this."""


class Owner(NamedTuple):
    """The row that will name a blob, and the multipart upload it is a part of (b"" for none)."""

    shard: bytes
    name: bytes
    upload: bytes = b""


class Blobs:
    """Makes sinks and sources, and removes blobs."""

    def __init__(
        self,
        placement: Placement,
        clock: Clock,
        randomness: Randomness,
        lost: ReportLost | None = None,
    ) -> None:
        """lost: told of copies and fragments found missing or damaged."""
        self._lost = lost
        self._placement = placement
        self._clock = clock
        self._randomness = randomness

    async def sink(self, policy: Policy, owner: Owner) -> BlobSink:
        """A new blob on the devices of its policy. Raises Full, Unavailable."""
        blob_id = self._randomness.token(BLOB_ID_BYTES)
        codec = self._placement.codec(policy)
        header = BlobHeader(
            name=BlobName(blob_id, 0),
            partition=self._placement.blob_partition(blob_id),
            policy=policy.name,
            owner_shard=owner.shard,
            owner_name=owner.name,
            upload=owner.upload,
            codec=policy.codec,
            k=policy.k,
            m=policy.m,
            chunk_bytes=codec.fragment_bytes(SEGMENT_BYTES) if codec is not None else CHUNK_BYTES,
            created_ns=self._clock.now_ns(),
        )
        sink = BlobSink(blob_id, policy, codec)
        devices = self._placement.blob_devices(blob_id, policy.name)
        try:
            await sink.open(devices, header, self._clock.monotonic() + BLOB_DEADLINE_S)
        except BaseException:
            await sink.abort()
            raise
        return sink

    def source(self, blob: Blob) -> BlobSource:
        """A blob for reading."""
        devices = self._placement.blob_devices(blob.id, blob.policy)
        codec = self._placement.codec(self._placement.policy(blob.policy))
        return BlobSource(blob, devices, codec, self._clock, self._lost)

    def report_missing(self, sink: BlobSink) -> None:
        """Tell of the copies that a committed blob did not get."""
        if self._lost is not None and sink.missing:
            blob = Blob(sink.blob_id, sink.size_bytes, sink.policy.name)
            for number in sink.missing:
                self._lost(blob, number)

    async def try_delete(self, blobs: Sequence[Blob]) -> None:
        """Remove blobs that no row will name; what stays behind is an orphan for the collector."""
        deadline = self._clock.monotonic() + BLOB_DEADLINE_S

        async def remove(blob: Blob, number: int, device: DeviceClient) -> None:
            try:
                await device.delete_blob(BlobName(blob.id, number), deadline)
            except DeviceFault:
                return

        for blob in blobs:
            devices = self._placement.blob_devices(blob.id, blob.policy)
            await asyncio.gather(*(remove(blob, n, device) for n, device in enumerate(devices)))
