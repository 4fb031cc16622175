"""A volume that is open for writing: its journal, what is not folded yet, and the folding.

A write is answered when the journal has it. In the background extents are *folded*: an extent with
its newest writes is put whole under a new name; when all that was written up to a position is folded,
a head with this position is put, and the slots up to it are deleted. After a crash the newest head and
the slots after its position make the volume as it was: nothing that was answered is lost, and what was
folded beyond the head is only what the journal says anyway.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from compute.objects.errors import NoSuchObject, StoreAway, StoreRefused
from compute.volume.drivers.contract import Extent
from compute.volume.drivers.errors import Fenced, NoSuchVolume
from compute.volume.drivers.ring import journal, names
from compute.volume.drivers.ring.journal import Entry, Journal
from compute.volume.drivers.ring.layers import EXTENT_BYTES, Ahead, Layer, Shelf, StoredExtent, split
from compute.volume.drivers.ring.names import Position
from compute.volume.drivers.ring.overlay import Overlay
from compute.volume.drivers.ring.records import (
    VERSION,
    About,
    Head,
    Record,
    Slot,
    Snapshot,
    Write,
    Zero,
    encoded,
    head_of,
)

HELD_BYTES_MAX: Final = 96 * 1024 * 1024
"""Writes in memory that are not folded; more wait."""
FOLD_AT_BYTES: Final = 32 * 1024 * 1024
FOLD_AT_SLOTS: Final = 512
"""So a takeover has few slots to read."""
IDLE_S: Final = 1.0
"""Without writes for so long, what is there is folded."""
CARRY_BYTES_MAX: Final = 32 * 1024 * 1024
"""Writes that a settled layer has beside its extents; more are folded before."""
FOLDS_AT_ONCE: Final = 4
RETRY_S: Final = 1.0
OPEN_TRIES: Final = 10

log = logging.getLogger("atoll.cloud.volume")


async def newest_head(shelf: Shelf, volume_id: str) -> tuple[Head, Position, list[str]]:
    """The head that counts, its position, and the names of all. Raises NoSuchVolume, StoreAway."""
    for _ in range(OPEN_TRIES):
        listed = [name for name, _ in await shelf.listed(names.head(volume_id))]
        if not listed:
            raise NoSuchVolume(f"there is no volume {volume_id}")
        with contextlib.suppress(NoSuchObject):  # replaced meanwhile
            raw = await shelf.objects.get(shelf.container, listed[-1])
            return head_of(raw), names.position_of(listed[-1]), listed
    raise StoreAway(f"volume {volume_id} changes faster than it can be read")


class Volume:
    """One open volume. Made by `opened`; ended by `close`. Its methods may be called at once."""

    def __init__(self, shelf: Shelf, volume_id: str, writer: str) -> None:
        self.id = volume_id
        self._shelf = shelf
        self._ahead = Ahead(shelf)
        self._writer = writer
        self._changing = asyncio.Lock()
        self._coming: dict[str, list[Layer]] = {}
        self._slots: list[Position] = []
        self._heads: list[str] = []
        self._held_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._round = asyncio.Condition()
        self._rounds = 0
        self._hurry = 0
        self._unsettled: set[str] = set()
        self._closed = False
        self.abandoned = False
        """Set where nothing is to be folded any more: the volume is being deleted."""
        self._folder: asyncio.Task[None] | None = None
        self.head: Head
        self.chain: list[Layer]
        self._folded: Position
        self._journal: Journal

    @classmethod
    async def opened(cls, shelf: Shelf, volume_id: str, writer: str) -> "Volume":
        """Take the volume over from whoever has it. writer: unique. Raises NoSuchVolume, StoreAway."""
        volume = cls(shelf, volume_id, writer)
        for _ in range(OPEN_TRIES):
            with contextlib.suppress(NoSuchObject):
                if await volume._taken_over():
                    volume._folder = asyncio.ensure_future(volume._fold_on())
                    return volume
        raise StoreAway(f"volume {volume_id} is being taken over by others")

    async def _taken_over(self) -> bool:
        shelf = self._shelf
        head, folded, heads = await newest_head(shelf, self.id)
        listed = [name for name, _ in await shelf.listed(names.journal(self.id))]
        found = await journal.read(shelf.objects, shelf.container, self.id, listed, folded)
        taken = await journal.take_over(
            shelf.objects, shelf.container, self.id, self._writer, found.end
        )
        if taken is None:
            return False
        late = await journal.read_between(
            shelf.objects, shelf.container, self.id, found.end, taken.sealed
        )
        self.head, self._folded, self._heads = head, folded, heads
        listed = [name for name, _ in await shelf.listed(names.journal(self.id))]
        self._slots = [names.position_of(name) for name in listed]
        self.chain = await self._loaded(head.top, [])
        for entry in [*found.entries, *late]:
            await self._replay(entry)
        await self._find_unsettled()
        self._journal = Journal(
            shelf.objects,
            shelf.container,
            self.id,
            self._writer,
            taken.first,
            self._apply,
            self._wake.set,
        )
        self._wake.set()
        return True

    async def _replay(self, entry: Entry) -> None:
        for record in entry.records:
            if isinstance(record, Head) and record.top != self.head.top:
                self._coming[record.top] = await self._loaded(record.top, self.chain)
            self._apply_record(record)

    async def _loaded(self, layer_id: str, known: list[Layer]) -> list[Layer]:
        """A chain, of known layers where they are. What its own layers carry is to be folded."""
        by_id = {layer.id: layer for layer in known}
        chain = [by_id.get(layer.id, layer) for layer in await self._shelf.chain(layer_id)]
        fresh = [layer for layer in chain if layer.id not in by_id and self._is_own(layer)]
        self._held_bytes += sum(layer.held_bytes for layer in fresh)
        return chain

    def _is_own(self, layer: Layer) -> bool:
        return layer.id.startswith(self.id)

    async def _find_unsettled(self) -> None:
        """Layers of this volume below the top that no mark says are settled."""
        for layer in self.chain[1:]:
            if self._is_own(layer):
                mark = names.settled(layer.id)
                if await self._shelf.objects.head(self._shelf.container, mark) is None:
                    self._unsettled.add(layer.id)

    def _is_unfolded(self, layer: Layer) -> bool:
        return self._is_own(layer) and bool(layer.overlays)

    # -- what the journal has, in memory --

    def _apply(self, entry: Entry) -> None:
        self._slots.append(entry.position)
        for record in entry.records:
            self._apply_record(record)
        if self._held_bytes >= HELD_BYTES_MAX:
            self._room.clear()
        self._wake.set()

    def _apply_record(self, record: Record) -> None:
        if isinstance(record, Write):
            self._lay(record)
        elif isinstance(record, Zero):
            for number, _, at, length in split(record.offset, record.length):
                if length < EXTENT_BYTES or self._has(number):
                    self._lay(Zero(record.offset + at, length))
        elif isinstance(record, Head):
            if record.top != self.head.top:
                self.chain = self._coming.pop(record.top)
            self.head = record

    def _lay(self, record: Write | Zero) -> None:
        top = self.chain[0]
        before = self._held(top, record)
        top.lay(record)
        self._held_bytes += self._held(top, record) - before

    def _held(self, layer: Layer, record: Write | Zero) -> int:
        """What the overlays take that a record is for."""
        length = len(record.data) if isinstance(record, Write) else record.length
        first, last = record.offset // EXTENT_BYTES, (record.offset + length - 1) // EXTENT_BYTES
        return sum(
            overlay.held_bytes
            for number in range(first, last + 1)
            for overlay in layer.overlays.get(number, ())
        )

    def _has(self, number: int) -> bool:
        """Whether an extent is anything but zeroes without a trace."""
        return bool(self.chain[-1].about.pieces) or any(
            number in layer.extents or number in layer.overlays for layer in self.chain
        )

    # -- the disk --

    @property
    def size_bytes(self) -> int:
        """As it is now."""
        return self.head.size_bytes

    def read_now(self, offset: int, length: int) -> bytes | None:
        """The bytes where they are at hand. Raises ValueError beyond the end."""
        self._check(offset, length)
        number, start = divmod(offset, EXTENT_BYTES)
        if start + length > EXTENT_BYTES:
            return None
        self._ahead.read(self.chain, number)
        return self._shelf.now(self.chain, number, start, length)

    async def read(self, offset: int, length: int) -> bytes:
        """The bytes. Raises ValueError beyond the end, StoreAway."""
        self._check(offset, length)
        parts = [
            await self._part(number, start, part) for number, start, _, part in split(offset, length)
        ]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _part(self, number: int, start: int, length: int) -> bytes:
        for _ in range(OPEN_TRIES):
            chain = self.chain
            self._ahead.read(chain, number)
            try:
                return await self._shelf.extent(chain, number, start, length)
            except NoSuchObject:
                if self.chain is chain:
                    raise
        raise StoreAway(f"volume {self.id} changes faster than it can be read")

    async def write(self, offset: int, data: bytes | memoryview, *, fua: bool = False) -> None:
        """Durable when it returns, fua or not. Raises ValueError, Fenced, StoreAway."""
        self._check(offset, len(data))
        if len(data):
            await self._append(Write(offset, bytes(data)))

    async def zero(self, offset: int, length: int, *, fua: bool = False) -> None:
        """The same with zeroes."""
        self._check(offset, length)
        if length:
            await self._append(Zero(offset, length))

    async def flush(self) -> None:
        """Nothing is to be done: what was answered is durable. Raises Fenced where it is known."""
        if self._journal.failed is not None:
            raise self._journal.failed

    async def extents(self, offset: int, length: int) -> AsyncIterator[Extent]:
        """What is stored, and what is zeroes; nothing is read for it."""
        self._check(offset, length)
        for number, start, at, part in split(offset, length):
            for extent in seen_extents(self.chain, number, start, part):
                yield Extent(offset + at + extent.offset - start, extent.length, extent.data)

    async def _append(self, record: Record) -> Position:
        if self._closed:
            raise Fenced(f"volume {self.id} is closed")
        while not self._room.is_set() and self._journal.failed is None:
            self._wake.set()
            await self._room.wait()
        return await self._journal.append(record)

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise ValueError(f"{length} bytes at {offset} are beyond the end of {self.id}")

    # -- changes of the volume itself --

    async def resize(self, size_bytes: int) -> None:
        """Grow. A smaller size changes nothing."""
        async with self._changing:
            if size_bytes > self.head.size_bytes:
                await self._append(msgspec.structs.replace(self.head, size_bytes=size_bytes))

    async def snapshot(self, snapshot_id: str) -> Snapshot:
        """Keep the bytes of now. Idempotent."""
        async with self._changing:
            known = self.head.snapshots.get(snapshot_id)
            return known or await self._branched(snapshot_id)

    async def branch(self) -> Snapshot:
        """Keep the bytes of now for a clone, which is to refer to the layer before anything else."""
        async with self._changing:
            return await self._branched(None)

    async def _branched(self, snapshot_id: str | None) -> Snapshot:
        """Write into a new layer from now on."""
        old, size = self.chain[0], self.head.size_bytes
        kept = Snapshot(old.id, size)
        snapshots = self.head.snapshots
        if snapshot_id is not None:
            snapshots = {**snapshots, snapshot_id: kept}
            await self._refer(old.id, snapshot_id)
        await self._go_on_in(self.chain, size, snapshots)
        self._unsettled.add(old.id)
        await self._release(old.id, self.id)
        return kept

    async def _go_on_in(
        self, below: list[Layer], seen_bytes: int, snapshots: dict[str, Snapshot]
    ) -> Position:
        """Write into a new layer on a chain from now on. What refers to it is put before it counts."""
        layer_id = f"{self.id}-{self._journal.durable.text}"
        about = About(VERSION, below[0].id, seen_bytes, [])
        await self._put(names.about(layer_id), encoded(about))  # tells who deletes the way
        await self._refer(below[0].id, layer_id)
        await self._refer(layer_id, self.id)
        self._coming[layer_id] = [Layer(layer_id, about, {}), *below]
        return await self._append(Head(self.head.size_bytes, layer_id, snapshots))

    async def forget_snapshot(self, snapshot_id: str) -> None:
        """Let go of a snapshot. Idempotent."""
        async with self._changing:
            known = self.head.snapshots.get(snapshot_id)
            if known is None:  # what was begun, and broke off, may have left its reference
                for layer in self.chain:
                    if layer.id.startswith(self.id):
                        await self._release(layer.id, snapshot_id)
                return
            rest = {key: kept for key, kept in self.head.snapshots.items() if key != snapshot_id}
            await self._append(msgspec.structs.replace(self.head, snapshots=rest))
        await self._release(known.layer, snapshot_id)

    async def revert(self, snapshot_id: str) -> None:
        """Back to a snapshot; what was written since is dropped. Raises NoSuchVolume."""
        async with self._changing:
            kept = self.head.snapshots.get(snapshot_id)
            if kept is None:
                raise NoSuchVolume(f"volume {self.id} has no snapshot {snapshot_id}")
            dropped = self.chain[0]
            if dropped.about.parent == kept.layer and not dropped.extents and not dropped.overlays:
                return
            await self._until(lambda: not any(map(self._is_unfolded, self.chain)))
            chain = await self._loaded(kept.layer, self.chain)
            since = await self._go_on_in(chain, kept.size_bytes, self.head.snapshots)
        # the last head that was put names the dropped layer: who takes over begins with that
        await self._until(lambda: self._folded >= since)
        await self._release(dropped.id, self.id)

    # -- folding --

    async def settle(self, layer_id: str) -> None:
        """Returns when nothing of a layer is in the journal alone. Raises Fenced, StoreAway.

        What is not folded yet is put as it is, so it takes no longer where it touches many extents.
        """
        layer = next((layer for layer in self.chain if layer.id == layer_id), None)
        if layer is None or layer_id not in self._unsettled:
            return
        await self._until(lambda: layer.held_bytes <= CARRY_BYTES_MAX)
        if self._journal.failed is not None:
            raise self._journal.failed
        if layer_id not in self._unsettled:
            return
        records: list[Record] = [*layer.laid()]
        if records:
            raw = encoded(Slot(VERSION, self._writer, records))
            layer.is_carried = True
            await self._put(names.carry(layer_id), raw)
        await self._put(names.settled(layer_id), b"")
        self._unsettled.discard(layer_id)

    async def _until(self, folded: Callable[[], bool]) -> None:
        self._hurry += 1
        try:
            while not folded():
                if self._journal.failed is not None:
                    raise self._journal.failed
                self._wake.set()
                async with self._round:
                    seen = self._rounds
                    while self._rounds == seen:
                        await self._round.wait()
        finally:
            self._hurry -= 1

    async def _fold_on(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._is_urgent():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_S):  # wait_for may swallow the cancellation
                        await self._wake.wait()
                    continue
            try:
                await self._fold_all()
            except Fenced:
                self._room.set()
                await self._tell_round()
                return
            except (StoreAway, StoreRefused) as error:
                log.warning("volume %s can't be folded now: %s", self.id, error)
                await self._again_later()
            except Exception:
                log.exception("volume %s can't be folded", self.id)
                await self._again_later()
            await self._tell_round()

    async def _again_later(self) -> None:
        await asyncio.sleep(RETRY_S)
        self._wake.set()

    async def _tell_round(self) -> None:
        async with self._round:
            self._rounds += 1
            self._round.notify_all()

    def _is_urgent(self) -> bool:
        return (
            self._hurry > 0
            or self._held_bytes >= FOLD_AT_BYTES
            or len(self._slots) >= FOLD_AT_SLOTS
            or self._journal.failed is not None
        )

    async def _fold_all(self) -> None:
        """One round: all that is durable now is folded, a head says so, its slots go."""
        if self._journal.failed is not None:
            raise Fenced(str(self._journal.failed))
        position, head, unsettled = self._journal.durable, self.head, set(self._unsettled)
        unsettled.discard(self.chain[0].id)
        chain = self.chain
        own = [(depth, layer) for depth, layer in enumerate(chain) if self._is_own(layer)]
        work = [(depth, number) for depth, layer in own for number in layer.overlays]
        for depth, number in work:
            chain[depth].overlays[number].append(Overlay())  # later writes are of the next round
        gate = asyncio.Semaphore(FOLDS_AT_ONCE)

        async def fold(depth: int, number: int) -> None:
            async with gate:
                await self._fold(chain[depth:], number, position)

        # an extent may stand on one below it: those of lower layers come first
        for depth in sorted({depth for depth, _ in work}, reverse=True):
            await asyncio.gather(*(fold(at, number) for at, number in work if at == depth))
        if position > self._folded:
            await self._put(names.head(self.id, position), encoded(head))
            self._folded = position
            older, self._heads = self._heads, [names.head(self.id, position)]
            slots = [slot for slot in self._slots if slot <= position]
            self._slots = [slot for slot in self._slots if slot > position]
            for name in older:
                await self._shelf.objects.delete(self._shelf.container, name)
            await self._journal.forget(slots)
        for layer_id in unsettled:
            await self._put(names.settled(layer_id), b"")
            self._unsettled.discard(layer_id)
        for _, layer in own:
            if layer.is_carried and not layer.overlays:
                layer.is_carried = False
                await self._shelf.objects.delete(self._shelf.container, names.carry(layer.id))

    async def _fold(self, chain: list[Layer], number: int, position: Position) -> None:
        """Put one extent of the first layer of `chain`, with all its overlays but the last."""
        layer = chain[0]
        overlays = layer.overlays[number]
        laid = overlays[:-1]
        if any(laid):
            length = min(EXTENT_BYTES, max(self.size_bytes - number * EXTENT_BYTES, 0))
            frozen = Layer(layer.id, layer.about, layer.extents)
            frozen.overlays = {number: laid}
            whole = await self._shelf.extent([frozen, *chain[1:]], number, 0, length)
            raw = bytes(whole.rstrip(b"\0"))
            old = layer.extents.get(number)
            if raw or old is not None or _is_below(chain, number):
                name = names.extent(layer.id, number, position)
                await self._put(name, raw)
                await self._shelf.cache.keep(self._shelf.container, name, raw)
                layer.extents[number] = StoredExtent(position, len(raw))
            if old is not None and old.position != position:
                stale = names.extent(layer.id, number, old.position)
                await self._shelf.objects.delete(self._shelf.container, stale)
                self._shelf.cache.forget(self._shelf.container, stale)
        freed = sum(overlay.held_bytes for overlay in laid)
        self._held_bytes -= freed
        del overlays[: len(laid)]
        if not any(overlays):
            layer.overlays.pop(number, None)
        if self._held_bytes < HELD_BYTES_MAX:
            self._room.set()

    # -- small objects --

    async def _put(self, name: str, raw: bytes) -> None:
        await self._shelf.objects.put(self._shelf.container, name, raw)

    async def _refer(self, layer_id: str, holder: str) -> None:
        await self._put(names.references(layer_id) + holder, b"")

    async def _release(self, layer_id: str, holder: str) -> None:
        await release(self._shelf, layer_id, holder)

    async def close(self) -> None:
        """Fold all and let go. A volume that was taken over, or whose store is away, is just let go."""
        self._closed = True
        await self._journal.idle()
        try:
            if self._journal.failed is None and not self.abandoned:
                await self._end_folder()
                await self._fold_all()
        except (Fenced, StoreAway, StoreRefused, NoSuchObject) as error:
            log.warning("volume %s is closed with its journal: %s", self.id, error)
        finally:
            await self._end_folder()

    async def _end_folder(self) -> None:
        """Between two rounds, or where it fails."""
        if self._folder is None:
            return
        self._folder.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._folder
        self._folder = None


def _is_below(chain: list[Layer], number: int) -> bool:
    return bool(chain[-1].about.pieces) or any(
        number in layer.extents or number in layer.overlays for layer in chain[1:]
    )


def seen_extents(chain: list[Layer], number: int, start: int, length: int) -> list[Extent]:
    """A range of one extent: data, and zeroes that take no room. Offsets within the extent."""
    end = start
    for layer in chain:
        for overlay in layer.overlays.get(number, []):
            end = max(end, overlay.end)
        if number in layer.extents:
            end = max(end, layer.extents[number].size)
            break
    else:
        image = sum(piece.length for piece in chain[-1].about.base)
        end = max(end, image - number * EXTENT_BYTES)
    end = min(end, start + length)
    found = [Extent(start, end - start, True)] if end > start else []
    if end < start + length:
        found.append(Extent(end, start + length - end, False))
    return found


async def release(shelf: Shelf, layer_id: str, holder: str) -> None:
    """Let go of a layer; where nobody needs it, it goes, and what it stood on is let go, too.

    Each step may be done again after a crash; what tells the way (`about`) goes last.
    """
    objects, container = shelf.objects, shelf.container
    await objects.delete(container, names.references(layer_id) + holder)
    if await objects.listing(container, names.references(layer_id), limit=1):
        return
    about = await shelf.about(layer_id)
    for name, _ in await shelf.listed(names.extents(layer_id)):
        await objects.delete(container, name)
    await objects.delete(container, names.settled(layer_id))
    await objects.delete(container, names.carry(layer_id))
    if about is not None and about.parent:
        await release(shelf, about.parent, layer_id)
    await objects.delete(container, names.about(layer_id))
