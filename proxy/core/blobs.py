"""Makes blobs' sinks and sources on the devices of their policies, and removes blobs."""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from proxy.core.blob_sink import BlobSink
from proxy.core.blob_source import (
    BLOB_HEDGE_MAX_S,
    BLOB_HEDGE_MIN_S,
    BlobSource,
    ReportLost,
    held,
)
from proxy.core.errors import Unavailable
from proxy.core.latency import Latency
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
        self._read_latency = Latency(BLOB_HEDGE_MIN_S, BLOB_HEDGE_MAX_S)

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
        sink = BlobSink(header, policy, codec, self._clock)
        homes = self._placement.blob_devices(blob_id, policy.name)
        offers = partial(self._placement.blob_handoffs, blob_id, policy.name)
        try:
            await sink.open(homes, offers, self._clock.monotonic() + BLOB_DEADLINE_S)
        except BaseException:
            await sink.abort()
            raise
        return sink

    def source(self, blob: Blob) -> BlobSource:
        """A blob for reading."""
        return self._source(blob, self._lost)

    def _source(self, blob: Blob, lost: ReportLost | None) -> BlobSource:
        devices = self._placement.blob_devices(blob.id, blob.policy)
        codec = self._placement.codec(self._placement.policy(blob.policy))
        elsewhere = partial(self._placement.blob_elsewhere, blob.id, blob.policy)
        return BlobSource(blob, devices, codec, self._clock, lost, elsewhere, self._read_latency)

    async def header(self, blob: Blob) -> BlobHeader | None:
        """What any of its copies says of the blob; None where there is no copy left, wherever one could
        be. Raises Unavailable where a copy may be that can't be opened now.
        """
        source = self._source(blob, None)
        try:
            header = await source.header()
        finally:
            source.close()
        if header is None and not source.gone:
            raise Unavailable("no copy of a blob can be opened")
        return header

    def report_missing(self, sink: BlobSink) -> None:
        """Tell of the copies that a committed blob did not get."""
        if self._lost is not None and sink.missing:
            blob = Blob(sink.blob_id, sink.size_bytes, sink.policy.name)
            for number in sink.missing:
                self._lost(blob, number)

    async def try_delete(self, blobs: Sequence[Blob]) -> None:
        """Remove blobs that no row will name, from their homes and from where they may be else.

        What stays behind, because a device is away say, is an orphan for the collector.
        """
        for blob in blobs:
            homes = self._placement.blob_devices(blob.id, blob.policy)
            others = self._placement.blob_elsewhere(blob.id, blob.policy)
            await asyncio.gather(
                *(self._try_remove(device, blob, [n]) for n, device in enumerate(homes)),
                *(self._try_remove_held(device, blob) for device in others),
            )

    async def _try_remove(self, device: DeviceClient, blob: Blob, numbers: Iterable[int]) -> None:
        deadline = self._clock.monotonic() + BLOB_DEADLINE_S
        with contextlib.suppress(DeviceFault):
            for number in numbers:
                await device.delete_blob(BlobName(blob.id, number), deadline)

    async def _try_remove_held(self, device: DeviceClient, blob: Blob) -> None:
        with contextlib.suppress(DeviceFault):
            await self._try_remove(device, blob, await held(device, blob.id))
