"""The `ring` driver: volumes that live in the object store, whatever host serves them.

What a volume is made of stands in `names`, how writes become durable and how one writer fences off
another in `journal`, what is done after a crash in `volume`. Snapshots, clones and volumes from raw
images take a few small objects each, whatever their size.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from compute.nbd.server import NbdServer
from compute.objects.contract import ObjectStore
from compute.objects.errors import NoSuchObject
from compute.volume.drivers.contract import (
    LISTED_MAX,
    Connection,
    Disk,
    Extent,
    Found,
    ImageSource,
    Usage,
)
from compute.volume.drivers.errors import BadSource, Busy, NoSuchVolume
from compute.volume.drivers.ring import names
from compute.volume.drivers.ring.cache import CACHE_BYTES, Cache
from compute.volume.drivers.ring.layers import EXTENT_BYTES, Layer, Shelf
from compute.volume.drivers.ring.names import BEFORE_ALL
from compute.volume.drivers.ring.records import VERSION, About, Head, Snapshot, encoded
from compute.volume.drivers.ring.view import View
from compute.volume.drivers.ring.volume import Volume, newest_head, release
from runtime.randomness import Randomness

CONTAINER: Final = "volumes"
COPY_BYTES: Final = 4 * 1024 * 1024
RAW: Final = frozenset({"raw", "iso", "ami", "aki", "ari"})
"""Formats whose file is the disk itself."""


class RingDriver:
    """One process's. start: before anything else; close: at the end, folds what is open."""

    name = "ring"

    def __init__(
        self,
        objects: ObjectStore,
        nbd: NbdServer,
        randomness: Randomness,
        *,
        container: str = CONTAINER,
        policy: str | None = None,
        cache_folder: str | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._cache = Cache(objects, cache_folder, cache_bytes)
        self._shelf = Shelf(objects, container, self._cache)
        self._nbd = nbd
        self._randomness = randomness
        self._policy = policy
        self._has_container = False
        self._open: dict[str, Volume] = {}
        self._users: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._writable: set[str] = set()
        self._attached: dict[str, contextlib.AsyncExitStack] = {}

    async def close(self) -> None:
        """End all exports and close all volumes."""
        for attachment_id in list(self._attached):
            await self._end(attachment_id)
        for volume in list(self._open.values()):
            await volume.close()
        self._open.clear()
        await self._cache.close()

    # -- volumes --

    async def create(self, volume_id: str, size_bytes: int) -> None:
        """A volume that reads as zeroes."""
        await self._made(volume_id, size_bytes, About(VERSION, "", 0, []))

    async def create_from_snapshot(self, volume_id: str, snapshot_id: str, size_bytes: int) -> None:
        """A volume that stands on a snapshot's layer."""
        source_id, kept = await self._snapshot(snapshot_id)
        if source_id is None:
            raise NoSuchVolume(f"there is no snapshot {snapshot_id}")
        await self._settled(source_id, kept)
        await self._made(volume_id, size_bytes, About(VERSION, kept.layer, kept.size_bytes, []))

    async def clone(self, volume_id: str, source_id: str, size_bytes: int) -> None:
        """A volume that stands on what its source is now."""
        if await self.exists(volume_id):
            return
        async with self._writer(source_id) as source:
            kept = await source.branch()
            await source.settle(kept.layer)
            await self._made(volume_id, size_bytes, About(VERSION, kept.layer, kept.size_bytes, []))

    async def create_from_image(self, volume_id: str, image: ImageSource, size_bytes: int) -> None:
        """On a raw image's own objects. Raises BadSource for others: they are converted before."""
        if image.disk_format not in RAW:
            raise BadSource(f"an image of format {image.disk_format} can't be a volume as it is")
        pieces = [tuple(piece) for piece in image.pieces]
        await self._made(volume_id, size_bytes, About(VERSION, "", image.size_bytes, pieces))  # type: ignore[arg-type]

    async def _made(self, volume_id: str, size_bytes: int, about: About) -> None:
        """Put what a new volume needs, its head last: it is there when this is."""
        objects, container = self._shelf.objects, self._shelf.container
        if not self._has_container:
            await objects.make_container(container, self._policy)
            self._has_container = True
        if await self.exists(volume_id):
            return
        layer_id = f"{volume_id}-{BEFORE_ALL.text}"
        if about.parent:  # an earlier attempt may have stood on what its source was then
            known = await self._shelf.about(layer_id)
            if known is not None and known.parent not in ("", about.parent):
                await release(self._shelf, known.parent, layer_id)
        await objects.put(container, names.about(layer_id), encoded(about))  # tells `delete` the way
        if about.parent:
            await objects.put(container, names.references(about.parent) + layer_id, b"")
        await objects.put(container, names.references(layer_id) + volume_id, b"")
        head = encoded(Head(size_bytes, layer_id))
        await objects.put(container, names.head(volume_id, BEFORE_ALL), head)

    async def adopt(self, volume_id: str, name: str) -> None:
        """A clone takes its place."""
        if not await self.exists(volume_id):
            async with self._writer(name) as volume:
                if volume.head.snapshots:
                    raise Busy(f"volume {name} has snapshots")
                await self.clone(volume_id, name, volume.size_bytes)
        await self.delete(name)

    async def found(self) -> list[Found]:
        """By their heads: one request finds the next volume's, one reads it."""
        volumes: list[Found] = []
        marker = names.VOLUMES
        while len(volumes) < LISTED_MAX:
            rows = await self._shelf.objects.listing(
                self._shelf.container, names.VOLUMES, marker, limit=1
            )
            if not rows:
                break
            name = rows[0].name.split("/")[1]
            marker = f"{names.VOLUMES}{name}0"  # after all that is below `<name>/`
            with contextlib.suppress(NoSuchVolume):
                head, _, _ = await newest_head(self._shelf, name)
                kept = tuple((ident, each.size_bytes) for ident, each in head.snapshots.items())
                volumes.append(Found(name, head.size_bytes, kept))
        return volumes

    async def delete(self, volume_id: str) -> None:
        """Fence off whoever may write it, let go of its layers, then forget it."""
        if volume_id in self._users:
            raise Busy(f"volume {volume_id} is in use")
        try:
            async with self._writer(volume_id) as volume:
                if volume.head.snapshots:
                    raise Busy(f"volume {volume_id} has snapshots")
                volume.abandoned = True
                top = [volume.head.top]
        except NoSuchVolume:
            top = []
        # beside the chain, what a crash may have left of this volume's own
        own = {name.split("/")[1] for name, _ in await self._shelf.listed(names.layer(volume_id)[:-1])}
        for layer_id in [*top, *sorted(own, reverse=True)]:
            await release(self._shelf, layer_id, volume_id)
        for name, _ in reversed(await self._shelf.listed(names.volume(volume_id))):
            await self._shelf.objects.delete(self._shelf.container, name)  # heads come last

    async def extend(self, volume_id: str, size_bytes: int) -> None:
        """Grow; exports of it see it at once."""
        async with self._writer(volume_id) as volume:
            await volume.resize(size_bytes)

    async def revert(self, volume_id: str, snapshot_id: str) -> None:
        """Back to a snapshot."""
        if volume_id in self._writable:
            raise Busy(f"volume {volume_id} is in use")
        async with self._writer(volume_id) as volume:
            await volume.revert(snapshot_id)

    async def exists(self, volume_id: str) -> bool:
        """Whether it is here."""
        rows = await self._shelf.objects.listing(self._shelf.container, names.head(volume_id), limit=1)
        return bool(rows)

    async def keeps_image(self, volume_id: str) -> bool:
        """While its first layer is there: clones may need that after the volume has gone."""
        about = await self._shelf.about(f"{volume_id}-{BEFORE_ALL.text}")
        return about is not None and bool(about.pieces)

    async def usage(self) -> Usage:
        """The object store tells no bound."""
        return Usage(None, None)

    # -- snapshots --

    async def snapshot(self, snapshot_id: str, volume_id: str) -> None:
        """Keep the volume's bytes of now. A small object finds its volume again."""
        async with self._writer(volume_id) as volume:
            kept = await volume.snapshot(snapshot_id)
            about = encoded(Head(kept.size_bytes, volume_id, {snapshot_id: kept}))
            name = f"snapshots/{snapshot_id}"
            await self._shelf.objects.put(self._shelf.container, name, about)

    async def delete_snapshot(self, snapshot_id: str, volume_id: str) -> None:
        """Forget a snapshot."""
        with contextlib.suppress(NoSuchVolume):
            async with self._writer(volume_id) as volume:
                await volume.forget_snapshot(snapshot_id)
        await self._shelf.objects.delete(self._shelf.container, f"snapshots/{snapshot_id}")

    async def _snapshot(self, snapshot_id: str) -> tuple[str | None, Snapshot]:
        from compute.volume.drivers.ring.records import head_of

        try:
            raw = await self._shelf.objects.get(self._shelf.container, f"snapshots/{snapshot_id}")
        except NoSuchObject:
            return None, Snapshot("", 0)
        head = head_of(raw)
        return head.top, head.snapshots[snapshot_id]

    async def _settled(self, volume_id: str, kept: Snapshot) -> None:
        """Returns when the snapshot's layer needs no journal."""
        mark = names.settled(kept.layer)
        if await self._shelf.objects.head(self._shelf.container, mark) is None:
            async with self._writer(volume_id) as volume:
                await volume.settle(kept.layer)

    async def changed(
        self, snapshot_id: str, older_snapshot_id: str, volume_id: str
    ) -> Sequence[Extent] | None:
        """Extents that layers between the two have."""
        _, newer = await self._snapshot(snapshot_id)
        _, older = await self._snapshot(older_snapshot_id)
        if not newer.layer or not older.layer:
            return None
        await self._settled(volume_id, newer)
        chain = await self._shelf.chain(newer.layer)
        between: dict[int, bool] = {}
        for layer in chain:
            if layer.id == older.layer:
                return _ranges(between, newer.size_bytes)
            for number, stored in layer.extents.items():
                between.setdefault(number, stored.size > 0 or number in layer.overlays)
            for number in layer.overlays:
                between.setdefault(number, True)
        return None

    # -- opening --

    @contextlib.asynccontextmanager
    async def open(self, volume_id: str, *, writable: bool) -> AsyncIterator[Disk]:
        """One who writes at a time; who reads sees what is written."""
        if writable and volume_id in self._writable:
            raise Busy(f"volume {volume_id} is in use")
        if writable:
            self._writable.add(volume_id)
        try:
            async with self._writer(volume_id) as volume:
                yield volume
        finally:
            if writable:
                self._writable.discard(volume_id)

    @contextlib.asynccontextmanager
    async def open_snapshot(self, snapshot_id: str, volume_id: str) -> AsyncIterator[Disk]:
        """Read a snapshot."""
        source_id, kept = await self._snapshot(snapshot_id)
        if source_id is None:
            raise NoSuchVolume(f"there is no snapshot {snapshot_id}")
        await self._settled(source_id, kept)
        yield View(self._shelf, await self._shelf.chain(kept.layer), kept.size_bytes)

    @contextlib.asynccontextmanager
    async def _writer(self, volume_id: str) -> AsyncIterator[Volume]:
        """The open volume, shared within the process; taken over where it is not open."""
        lock = self._locks.setdefault(volume_id, asyncio.Lock())
        async with lock:
            if volume_id not in self._open:
                writer = self._randomness.token(16).hex()
                self._open[volume_id] = await Volume.opened(self._shelf, volume_id, writer)
            self._users[volume_id] = self._users.get(volume_id, 0) + 1
        try:
            yield self._open[volume_id]
        finally:
            async with lock:
                self._users[volume_id] -= 1
                if not self._users[volume_id]:
                    del self._users[volume_id]
                    await self._open.pop(volume_id).close()

    # -- exports --

    async def attach(self, volume_id: str, attachment_id: str, *, read_only: bool) -> Connection:
        """Export it over NBD under the attachment's id. Attaching again is no error."""
        if attachment_id not in self._attached:
            stack = contextlib.AsyncExitStack()
            disk = await stack.enter_async_context(self.open(volume_id, writable=not read_only))
            self._nbd.add(attachment_id, disk, read_only=read_only)
            self._attached[attachment_id] = stack
        return Connection("nbd", {"export": attachment_id, **self._nbd.address()})

    async def detach(self, volume_id: str, attachment_id: str) -> None:
        """End an export."""
        await self._end(attachment_id)

    async def _end(self, attachment_id: str) -> None:
        stack = self._attached.pop(attachment_id, None)
        if stack is not None:
            await self._nbd.remove(attachment_id)
            await stack.aclose()


def _ranges(between: dict[int, bool], size_bytes: int) -> list[Extent]:
    found = []
    for number in sorted(between):
        start = number * EXTENT_BYTES
        length = min(EXTENT_BYTES, size_bytes - start)
        if length > 0:
            found.append(Extent(start, length, between[number]))
    return found


__all__ = ["Layer", "RingDriver", "newest_head"]
